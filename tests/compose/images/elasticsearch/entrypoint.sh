#!/bin/bash
# What the official image's entrypoint does for one unencrypted node, and the users of CLIMA_USERS=file besides.
set -e

if [ "$1" != eswrapper ]; then exec "$@"; fi

conf=${ES_PATH_CONF:-/usr/share/elasticsearch/config}
# shellcheck source=/dev/null
source /usr/share/elasticsearch/bin/elasticsearch-env-from-file
if [ -n "$ELASTIC_PASSWORD" ]; then
    [ -f "$conf/elasticsearch.keystore" ] || elasticsearch-keystore create
    if ! elasticsearch-keystore list | grep -q '^bootstrap.password$'; then
        elasticsearch-keystore add -x bootstrap.password <<<"$ELASTIC_PASSWORD"
    fi
fi
if [ -d "$conf/clima/file-users" ]; then python3 /usr/local/bin/file_users.py "$conf/clima" "$conf"; fi
exec elasticsearch
