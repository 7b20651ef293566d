# What the machine must have, and the one sentence for when it has not. Sourced by scripts/setup.
# shellcheck shell=bash

log=.venv/install.log

say() { printf '%s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# THING [PYTHON-VERSION]: what to type on this box to get it.
remedy() {
    local manager
    manager=$(command -v apt-get || command -v dnf || command -v brew || echo none)
    case "$(uname) ${manager##*/} $1" in
        *" apt-get python") echo "apt install python3 python3-venv" ;;
        *" apt-get newer python") echo "apt install python3.11 python3.11-venv" ;;
        *" apt-get venv") echo "apt install python$2-venv" ;;
        *" apt-get compiler") echo "apt install build-essential" ;;
        *" apt-get cmake") echo "apt install cmake" ;;
        *" dnf "*"python") echo "dnf install python3.11" ;;
        *" dnf venv") echo "dnf install python$2" ;;
        *" dnf compiler") echo "dnf install gcc gcc-c++" ;;
        *" dnf cmake") echo "dnf install cmake" ;;
        Darwin*" compiler") echo "xcode-select --install" ;;
        *" brew "*"python" | *" brew venv") echo "brew install python@3.13" ;;
        *" brew cmake") echo "brew install cmake" ;;
        Darwin*) echo "install $1 from its own site, or by way of Homebrew" ;;
        *" compiler") echo "install the system's packages of gcc and g++, or of clang" ;;
        *" venv") echo "install the system's package of Python's venv and ensurepip" ;;
        *) echo "install the system's package of $1" ;;
    esac
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null; }
recent() {
    case "$1" in
        3.1[1-9] | 3.[2-9][0-9]) ;;
        *) return 1 ;;
    esac
}

# Prints the interpreter to take. A name on the PATH proves nothing: version managers leave shims that only fail.
need_python() {
    local candidate found bare='' old=''
    for candidate in ${PYTHON:+"$PYTHON"} python3.14 python3.13 python3.12 python3.11 python3 python; do
        found=$(version_of "$candidate") || continue
        if ! recent "$found"; then
            old=${old:-"$candidate is $found"}
        elif ! "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null; then
            bare=${bare:-$found}
        else
            echo "$candidate"
            return
        fi
    done
    if [ -n "$bare" ]; then
        die "Python $bare is here without its venv module: $(remedy venv "$bare")"
    fi
    if [ -n "$old" ]; then
        die "Python 3.11 or newer is needed and $old: $(remedy 'newer python')"
    fi
    die "Python 3.11 or newer is needed and there is none: $(remedy python)"
}

# A header is compiled, as containers often have a compiler without the C library's headers.
# CC and CXX may carry words, as in "ccache gcc".
compiles() { # LANGUAGE HEADER COMPILER...
    local language=$1 header=$2 compiler
    shift 2
    for compiler in "$@"; do
        # shellcheck disable=SC2086
        if echo "#include <$header>" | $compiler -x "$language" -fsyntax-only - >/dev/null 2>&1; then
            return
        fi
    done
    return 1
}
need_compiler() {
    if [ -n "${CC:-}" ]; then set -- "$CC"; else set -- cc gcc clang; fi
    compiles c stdlib.h "$@" ||
        die "llama.cpp needs a C compiler and none works${CC:+ (CC is $CC)}: $(remedy compiler)"
    if [ -n "${CXX:-}" ]; then set -- "$CXX"; else set -- c++ g++ clang++; fi
    compiles c++ vector "$@" ||
        die "llama.cpp needs a C++ compiler and none works${CXX:+ (CXX is $CXX)}: $(remedy compiler)"
}

# Intel's AMX has to be told the shape of its tiles. Some compilers' headers say of that only that
# its first bytes are read, and what is written behind them is optimized away: the first prompt then
# ends in an illegal instruction. Prints the arguments of a build without AMX, if this one does so.
without_amx() { # [CPUINFO]
    local probe
    grep -qw amx_int8 "${1:-/proc/cpuinfo}" 2>/dev/null || return 0
    probe=$(mktemp) || return 0
    # shellcheck disable=SC2086
    if ${CXX:-c++} -x c++ -O3 -march=native -o "$probe" - >/dev/null 2>&1 <<'END' &&
#include <cstdint>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
struct Tiles {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
};
int main() {
    syscall(SYS_arch_prctl, 0x1023, 18); // ask for the tiles' registers
    alignas(64) Tiles told = {}, kept;
    told.palette = 1;
    told.bytes[0] = 64;
    told.rows[0] = 8;
    _tile_loadconfig(&told);
    asm volatile("sttilecfg %0" : "=m"(kept));
    return kept.bytes[0] != 64 || kept.rows[0] != 8;
}
END
        [ -x "$probe" ] && ! ("$probe" || exit 1) >/dev/null 2>&1; then
        echo "-DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8"
    fi
    rm -f "$probe"
}

# Before the work it spares minutes; after a failure it tells the cause without reading pip's mind.
need_room() {
    local room=1000 # MB: llama.cpp's sources and build in TMPDIR, or all of .venv, and some air
    if [ "$(free_mb .)" -lt "$room" ]; then
        die "The disk of $PWD has less than the $room MB free that are needed: make room on it."
    elif [ "$(free_mb "${TMPDIR:-/tmp}")" -lt "$room" ]; then
        die "${TMPDIR:-/tmp} has less than the $room MB free that are needed: make room in it," \
            "or set TMPDIR to a directory on another disk."
    fi
}
free_mb() {
    local free
    free=$(df -Pk "$1" 2>/dev/null | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*/\1/p')
    echo "$((${free:-999999999} / 1000))"
}

# Asked after a failure only: a cache may well do without the network.
need_index() {
    local status=0
    .venv/bin/python -m pip download -q --disable-pip-version-check --no-input --no-deps --no-cache-dir \
        --retries 0 --timeout 15 -d .venv/.probe hatchling >/dev/null 2>&1 </dev/null || status=$?
    rm -rf .venv/.probe
    [ "$status" = 0 ] || die "The package index cannot be reached: check the network, the proxy" \
        "(https_proxy) and pip's settings (PIP_INDEX_URL), then run this again; pip's log is $log."
}

# scikit-build-core fetches cmake by itself where there is none; pip builds apart from .venv, so
# putting one there would not help: only ask whether the index has a ready one.
need_cmake() {
    if cmake --version >/dev/null 2>&1 </dev/null; then return; fi
    if install --dry-run --only-binary :all: cmake ninja; then return; fi
    need_index
    die "llama.cpp needs cmake, and the package index has none for this machine: $(remedy cmake)"
}
