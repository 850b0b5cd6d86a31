"""The web page (`freeda app`): needs Gradio, the extra `app`. See docs/app.md."""
