#!/bin/sh
# Makes configure and the Makefile.in out of what is in git.
set -e
cd "$(dirname "$0")"
# dovecot.m4 is written for older autoconfs: those warnings are not ours
WARNINGS=no-obsolete autoreconf --force --install
