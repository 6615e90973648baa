# One image for every part of the fleet: `docker run tbcache worker`, `... scheduler`, `... api`.

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The one step that asks an index: every file must have the hash the lock has for it.
# The lock holds the tools of development too. They are fetched, and installed nowhere.
COPY requirements.lock ./
RUN pip wheel --quiet --require-hashes --no-deps --requirement requirements.lock --wheel-dir /wheels

# hatchling, which builds our wheel, stays in this stage.
COPY pyproject.toml README.md LICENSE ./
COPY tbcache ./tbcache
COPY workers ./workers
COPY scheduler ./scheduler
RUN pip install --quiet --no-index --find-links /wheels hatchling \
    && pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

# The environment takes what tbcache needs, from the checked files only. There is one version of
# each, so these are the versions of the lock.
RUN python -m venv --without-pip /opt/tbcache \
    && pip --python /opt/tbcache/bin/python install --quiet --no-index --find-links /wheels 'tbcache[all]'


FROM python:3.12-slim
RUN useradd --system --user-group --uid 10001 --no-create-home --shell /usr/sbin/nologin tbcache \
    && install --directory --owner tbcache --group tbcache /data
COPY --from=build /opt/tbcache /opt/tbcache
ENV PATH=/opt/tbcache/bin:$PATH PYTHONUNBUFFERED=1 TBCACHE_DATA_DIR=/data
WORKDIR /data
USER tbcache
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["tbcache", "status", "--json"]
ENTRYPOINT ["tbcache"]
CMD ["--help"]
