# An image for prediction and the page on a CPU, see docs/serving.md. It has not been built yet.
#     docker build --file=launch/docker/serve.Dockerfile --tag=fsfm_jax-serve .
# The base is python:3.11-slim-bookworm of 25 August 2026 (Python 3.11.16), by the digest of its multi-platform index.
# `docker buildx imagetools inspect python:3.11-slim-bookworm` prints the current one; change both FROM lines together.

FROM python@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/run.lock requirements/build.lock requirements/
# No build isolation, because one package has only a source distribution and is built with the base image's setuptools.
RUN python -m pip install --prefix=/opt/fsfm --no-build-isolation --require-hashes --requirement requirements/run.lock
RUN python -m pip install --prefix=/opt/build --only-binary=:all: --require-hashes --requirement requirements/build.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY docs/licences.md docs/
COPY configs/ configs/
COPY fsfm_jax/ fsfm_jax/
RUN PYTHONPATH=/opt/build/lib/python3.11/site-packages python -m build --wheel --no-isolation --outdir=dist . \
    && python -m pip install --prefix=/opt/fsfm --no-index --no-deps dist/*.whl

FROM python@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b
COPY --from=build /opt/fsfm/ /usr/local/
# Libraries need a user name for the id. This user owns no files and writes only to /scratch.
RUN useradd --uid=10001 --user-group --no-create-home --home-dir=/scratch --shell=/usr/sbin/nologin fsfm \
    && install --directory --mode=1777 /scratch
# No bytecode is written, because the root file system may be read-only. No tool accesses the network.
ENV HOME=/scratch TMPDIR=/scratch MPLCONFIGDIR=/scratch/matplotlib PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    JAX_PLATFORMS=cpu NO_GCE_CHECK=true
USER 10001:10001
WORKDIR /scratch
EXPOSE 7860
# 401 also means that the server answers, so the check needs no token.
HEALTHCHECK --interval=30s --timeout=10s --start-period=180s --retries=3 CMD ["python", "-c", \
    "import http.client; c = http.client.HTTPConnection('127.0.0.1', 7860, timeout=5); c.request('GET', '/api/about'); raise SystemExit(c.getresponse().status not in (200, 401))"]
ENTRYPOINT ["fsfm"]
CMD ["serve", "--host=0.0.0.0", "--port=7860", "--token_file=/run/secrets/fsfm_token"]
