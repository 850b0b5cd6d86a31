"""The studio (`freeda app`): needs FastAPI, the extra `app`. See docs/app.md."""
