#!/usr/bin/env bash
# Install the browser for the live tests if it is missing:  bash deploy/browser.sh [CHECK ARGUMENTS]
set -euo pipefail
case " $* " in # exit unless this check opens pages in a browser
*tests/live*) ;;
*tests/*) exit ;;
esac
if command -v chromium chromium-browser google-chrome >/dev/null; then exit; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Cannot continue. Tried to find Chromium. Found: none on PATH, and no permission to install it." \
        "Next: install it (Debian: sudo apt-get install chromium)." >&2
    exit 1
fi
echo "install  install chromium for the browser tests"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get --quiet=2 update && apt-get --quiet=2 install --yes --no-install-recommends chromium; } \
    </dev/null >&2; then
    echo "Cannot continue. Tried to install Chromium. Found: apt-get failed; see above." \
        "Next: correct the cause." >&2
    exit 1
fi
