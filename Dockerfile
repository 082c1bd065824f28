# One image for both commands, as docs/guide shows it: `python run.py` and `python run_worker.py`.
# On Kubernetes the smaller ones of services/api and services/worker are used.
ARG BASE_IMAGE=python:3.13-slim
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
