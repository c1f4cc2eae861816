#!/usr/bin/env bash
# Builds the OpenTelemetry Collector of collector-config/builder.yaml and prints the binary's path.
#
#   scripts/build-collector.sh           build it unless it is already there
#   scripts/build-collector.sh --path    print where it is; fail if it is not built
#
# The result lives outside the tree, one folder for each content of the manifest, in
# ${OTEL_STUDIO_PARTS:-${XDG_CACHE_HOME:-~/.cache}/otel-studio}. Needs Go; about five minutes the
# first time. What Go says goes to a log, shown only when the build fails.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
manifest="$root/collector-config/builder.yaml"
parts="${OTEL_STUDIO_PARTS:-${XDG_CACHE_HOME:-$HOME/.cache}/otel-studio}"

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi
}

key="$(sha256 <"$manifest" | cut -c1-16)"
binary="$parts/collector-$key/otelcol-studio"

if [ -x "$binary" ]; then
    echo "$binary"
    exit 0
fi
if [ "${1:-}" = "--path" ]; then
    echo "the Collector is not built: run scripts/build-collector.sh (needs Go)" >&2
    exit 1
fi
if ! command -v go >/dev/null; then
    echo "cannot build the Collector: there is no 'go' on PATH; install Go from go.dev" >&2
    exit 1
fi

mkdir -p "$parts"
if command -v flock >/dev/null; then
    # A second build waits for the first and then finds its result.
    exec 9>"$parts/collector-$key.lock"
    flock 9
    if [ -x "$binary" ]; then
        echo "$binary"
        exit 0
    fi
fi

work="$(mktemp -d "$parts/building.XXXXXX")"
trap 'rm -rf "$work"' EXIT
log="$work/build.log"
version="$(sed -n 's/.*otlpreceiver \(v[0-9.]*\).*/\1/p' "$manifest")"

echo "building the Collector $version (about five minutes the first time)" >&2
cp "$manifest" "$work/builder.yaml"
if ! (
    cd "$work"
    export CGO_ENABLED=0
    GOBIN="$work/bin" go install "go.opentelemetry.io/collector/cmd/builder@$version"
    ./bin/builder --config builder.yaml
) >"$log" 2>&1; then
    echo "the Collector did not build; the end of what Go said:" >&2
    tail -n 40 "$log" >&2
    exit 1
fi

# The folder appears under its name only when complete: an interrupted build leaves nothing behind.
mkdir "$work/done"
mv "$work/build/otelcol-studio" "$work/done/"
rm -rf "$(dirname "$binary")"
mv "$work/done" "$(dirname "$binary")"
echo "$binary"
