# freeda with its page, built from this checkout: docs/integrations.md tells how it is run, also on a GPU.
ARG BASE=python:3.11-slim
FROM ${BASE}

# An image of CUDA has no Python of its own.
RUN command -v python3 >/dev/null \
    || (apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv \
        && rm -rf /var/lib/apt/lists/*)

# What freeda needs, in the versions that it is tested with: a layer of its own, which changes of freeda leave alone.
ARG EXTRAS="app heif lora"
ARG TORCH=https://download.pytorch.org/whl/cpu
WORKDIR /opt/freeda
COPY pyproject.toml requirements.lock ./
RUN python3 -c "import sys, tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = [line for name in sys.argv[1:] for line in project['optional-dependencies'][name]]; \
print(*project['dependencies'], *extras, sep='\n')" ${EXTRAS} > wanted.txt
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --extra-index-url "${TORCH}" -c requirements.lock -r wanted.txt
COPY README.md LICENSE ./
COPY src src
COPY integrations integrations
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps .

# Models and banks that were fetched or grown, and photographs: both outlive a container. Any user may write.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/cache XDG_CACHE_HOME=/cache
RUN useradd --no-create-home --uid 10001 freeda && mkdir /cache /photos && chmod 1777 /cache /photos
VOLUME /cache /photos
WORKDIR /photos
USER freeda

# Who has no token is told so (401), which is an answer, too.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD python3 -c "import http.client, sys; \
page = http.client.HTTPConnection('127.0.0.1', 7860, timeout=4); \
page.request('GET', '/api/info'); \
sys.exit(page.getresponse().status not in (200, 401))"
EXPOSE 7860
ENTRYPOINT ["freeda"]
CMD ["app", "--host", "0.0.0.0"]
