#!/usr/bin/env bash
# The browser of the live tests, installed where it is missing:  bash deploy/browser.sh [ARGUMENTS OF THE CHECK]
set -euo pipefail
case " $* " in # whether this check opens pages
*" --fast "* | *" --no-live "*) exit ;;
*tests/live*) ;;
*tests/*) exit ;;
esac
if command -v chromium chromium-browser google-chrome >/dev/null; then exit; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Cannot go on. Tried to find Chromium. Found: none on PATH, and no right to install one." \
        "Next: install it (Debian: sudo apt-get install chromium), or run the check with --no-live." >&2
    exit 1
fi
echo "install  install chromium, which the tests of the pages drive"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get --quiet=2 update && apt-get --quiet=2 install --yes --no-install-recommends chromium; } \
    </dev/null >&2; then
    echo "Cannot go on. Tried to install Chromium. Found: apt-get failed, as above." \
        "Next: mend what it says, or run the check with --no-live." >&2
    exit 1
fi
