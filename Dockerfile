# The served application. docs/containers.md says how it is built and run.
#
#   docker build --build-arg APP_RELEASE=$(git rev-parse --short HEAD) -t prodfix .
#
# Sentry, Rollbar, OpenTelemetry and MCP: --build-arg REQUIREMENTS=requirements-integrations.txt

FROM python:3.13-slim-trixie AS build

ARG REQUIREMENTS=requirements.txt
# Wheels only: nothing is compiled, and no package's own script runs while it is installed.
COPY requirements.txt requirements-integrations.txt /tmp/
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check --only-binary :all: \
        -r "/tmp/${REQUIREMENTS}"

WORKDIR /srv/prodfix
COPY blueprints blueprints/
COPY config config/
COPY prodfix prodfix/
COPY wsgi.py deploy/docker/healthcheck.py ./
# Compiled here, once: the user of the image cannot write, and a start that compiles takes three times as long.
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash .


FROM python:3.13-slim-trixie

# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
RUN groupadd --gid 10001 prodfix \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/prodfix --no-create-home --shell /usr/sbin/nologin prodfix \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/prodfix

COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/prodfix /srv/prodfix

ARG APP_RELEASE=""
# STATE_DIR_DURABLE: an image cannot know whether its volume outlives the container. Say `true` where it does, with a volume
# that has a name: only then are writes deferred, and promised with 202.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PORT=8000 \
    WEB_CONCURRENCY=2 \
    STATE_DIR=/var/lib/prodfix \
    STATE_DIR_DURABLE=false \
    LOG_DIR=/var/lib/prodfix/log \
    APP_RELEASE=${APP_RELEASE}

WORKDIR /srv/prodfix
USER 10001:10001
VOLUME /var/lib/prodfix
EXPOSE 8000

# One path for the gate of a deploy and for liveness, as on Render: an outage of the database must not restart the container
# (docs/decisions/04-health-startup.md). Kubernetes has paths of its own, and does not read this.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "healthcheck.py", "/health/startup"]

# gunicorn is process 1 and gets the signal itself. It needs GRACEFUL_TIMEOUT_MS (25 s) and a little more to end, and Docker
# kills after 10 s: docker run --stop-timeout 35, or stop_grace_period in a compose file.
STOPSIGNAL SIGTERM
# gunicorn reads PORT and WEB_CONCURRENCY itself. Its workers say that they live by touching a file: in memory, as a disk
# that does not answer must not look like a worker that hangs.
CMD ["gunicorn", "--worker-tmp-dir", "/dev/shm", "-c", "config/gunicorn.conf.py", "wsgi:app"]
