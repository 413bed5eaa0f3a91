#!/bin/sh
# Used by the Dockerfile, step by step:
#   tools                fetch what builds and installs
#   wheel                build Clima
#   dependencies EXTRA   install what uv.lock says of that extra, by hash, into /opt/clima
#   clima                install Clima beside it
set -eu

UV="uv==0.13.9"
HATCHLING="hatchling==1.33.0"
SETUPTOOLS="setuptools==80.9.0" # psychrolib comes as source alone
TOOLS=/opt/tools
INSTALLED=/opt/clima

if [ -f /run/secrets/ca ]; then
    export PIP_CERT=/run/secrets/ca SSL_CERT_FILE=/run/secrets/ca
fi
if [ -f /run/secrets/index ]; then
    PIP_INDEX_URL=$(cat /run/secrets/index)
    export PIP_INDEX_URL UV_DEFAULT_INDEX="$PIP_INDEX_URL"
fi
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_PROGRESS=1

install() {
    "$TOOLS/bin/uv" pip install --quiet --python "$INSTALLED" --compile-bytecode "$@"
}

case $1 in
tools)
    python3 -m venv "$TOOLS"
    "$TOOLS/bin/pip" install --quiet "$UV" "$HATCHLING"
    ;;
wheel)
    "$TOOLS/bin/python" -m hatchling build -t wheel -d dist
    ;;
dependencies)
    "$TOOLS/bin/uv" export --quiet --frozen --no-dev --no-emit-project --extra "$2" >locked.txt
    echo "$SETUPTOOLS" >constraints.txt
    "$TOOLS/bin/uv" venv --quiet --python python3 "$INSTALLED"
    install --require-hashes --build-constraints constraints.txt -r locked.txt
    find "$INSTALLED" -path '*/zstandard/_cffi*.so' -delete # for other Pythons than this one
    ;;
clima)
    install --no-deps dist/*.whl
    ;;
*)
    echo "$0: no step called $1" >&2
    exit 2
    ;;
esac
