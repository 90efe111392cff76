# Two images: `operator` (small, no torch) and `trainer` (torch, DeepSpeed, the embedded model).
#
#   docker build --target operator -t dreambooth-operator .
#   docker build --target trainer  -t dreambooth-trainer .
#
# Libraries are in a layer of their own, below the code: a change of the code makes a layer of some megabytes.

ARG BASE_IMAGE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS uv
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir uv==0.13.9
# true: trust the certificates of /etc/ssl/certs, where a proxy inspects TLS.
ARG UV_SYSTEM_CERTS=false
ENV PATH=/opt/uv/bin:$PATH \
    UV_SYSTEM_CERTS=$UV_SYSTEM_CERTS \
    UV_PYTHON=python \
    UV_LINK_MODE=copy
WORKDIR /build

# Only what an image itself needs: a new linter makes no new layer of libraries.
FROM uv AS requirements
COPY pyproject.toml uv.lock ./
# Libraries for monitoring and uploads take 2 MB (tensorboard), 67 MB (wandb) and 43 MB (s3).
RUN for image in operator trainer; do \
        extras="--extra $image"; \
        if [ $image = trainer ]; then extras="$extras --extra tensorboard --extra wandb --extra s3"; fi; \
        uv export --quiet --locked --no-default-groups --no-emit-project $extras --output-file $image.txt || exit; \
        uv export --quiet --locked --no-default-groups --no-emit-project $extras --format cyclonedx1.5 \
            --output-file $image.cdx.json || exit; \
    done

FROM uv AS operator-libraries
COPY --from=requirements /build/operator.txt ./
RUN uv venv /opt/venv && uv pip install --python /opt/venv --compile-bytecode --require-hashes --requirement operator.txt

FROM uv AS trainer-libraries
COPY --from=requirements /build/trainer.txt ./
RUN uv venv /opt/venv && uv pip install --python /opt/venv --compile-bytecode --require-hashes --requirement trainer.txt

FROM uv AS trainer-code
COPY pyproject.toml LICENSE ./
COPY api api
COPY trainer_image trainer_image
# The package wants a readme; an image doesn't.
RUN touch README.md && uv pip install --no-deps --target /app . && rm -rf /app/bin

# The command line is not in it: it needs the trainer.
FROM uv AS operator-code
COPY pyproject.toml LICENSE ./
COPY api api
COPY operator/dreambooth_operator operator/dreambooth_operator
RUN touch README.md && uv pip install --no-deps --target /app . && rm -rf /app/bin

FROM ${BASE_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
LABEL org.opencontainers.image.licenses=Apache-2.0
WORKDIR /tmp

FROM base AS operator
LABEL org.opencontainers.image.title=dreambooth-operator
COPY --from=operator-libraries /opt/venv /opt/venv
COPY --from=operator-code /app /app
COPY --from=requirements /build/operator.cdx.json /usr/share/doc/dreambooth/sbom.cdx.json
USER 65532:65532
ENTRYPOINT ["python", "-m", "dreambooth_operator"]

FROM base AS trainer
LABEL org.opencontainers.image.title=dreambooth-trainer
# DeepSpeed compiles its Adam for offloaded states at the first use.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ ninja-build \
    && rm -rf /var/lib/apt/lists/*
COPY --from=trainer-libraries /opt/venv /opt/venv
COPY --from=trainer-code /app /app
COPY --from=requirements /build/trainer.cdx.json /usr/share/doc/dreambooth/sbom.cdx.json
USER 65532:65532
ENTRYPOINT ["python", "-m", "dreambooth_trainer.launch"]
