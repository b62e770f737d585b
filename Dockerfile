# One image for `pgchroma run` with a PostgreSQL of its own in /data, or with PGCHROMA_URL set to
# yours, and for `pgchroma migrate` and `pgchroma keys`.

FROM python:3.13-slim AS build

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY adapter adapter
COPY migrations migrations
COPY sql sql
RUN python -m venv /opt/pgchroma \
    && /opt/pgchroma/bin/pip install --no-cache-dir ".[embedded,server,telemetry]" \
    && /opt/pgchroma/bin/pip uninstall --yes pip

FROM python:3.13-slim

# `docker run --user` and OpenShift choose a user without a name, in group 0: initdb wants a name, which
# libnss-wrapper gives it, and /data is open to the group.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnss-wrapper \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 pgchroma \
    && useradd --uid 1000 --gid 1000 --home-dir /data --no-create-home --shell /usr/sbin/nologin pgchroma \
    && install --directory --owner=pgchroma --group=root --mode=0770 /data

COPY --from=build /opt/pgchroma /opt/pgchroma

ENV PATH=/opt/pgchroma/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PGCHROMA_PATH=/data \
    PGCHROMA_ADMIN_PORT=9000

# By number, so that Kubernetes can tell that it is not root (runAsNonRoot).
USER 1000:1000
WORKDIR /data
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9000/live', timeout=4)"]

ENTRYPOINT ["pgchroma"]

# In /data, or in the database of PGCHROMA_URL. PGCHROMA_ADMIN_KEY is the first admin's key; without
# it the first start writes one to /data/pgchroma-admin.key.
CMD ["run", "--host", "0.0.0.0"]
