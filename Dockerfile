# One image for both commands, as docs/guide shows it: `python run.py` and `python run_worker.py`.
# On Kubernetes the smaller ones of services/api and services/worker are used.
# Pinned, so that the same commit builds the same image; docs/images.md says how to take a newer one.
ARG BASE_IMAGE=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b
FROM ${BASE_IMAGE}

WORKDIR /app
# An environment of its own: the base's Python may belong to its operating system.
RUN python3 -m venv /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
COPY requirements.txt .
RUN pip install --quiet --no-cache-dir --require-hashes -r requirements.txt

COPY . .

# A container is asked from outside it.
ENV HOST=0.0.0.0
USER 10001:10001

# Starts a worker; the API by `command: python run.py`.
CMD ["python", "run_worker.py"]
