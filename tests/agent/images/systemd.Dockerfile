# A machine that systemd runs, for tests/agent/test_systemd.py.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}
# hadolint ignore=DL3008
RUN apt-get -q update \
    && apt-get -q -y install --no-install-recommends systemd systemd-sysv dbus procps python3-venv \
    && rm -rf /var/lib/apt/lists/*
CMD ["/lib/systemd/systemd"]
