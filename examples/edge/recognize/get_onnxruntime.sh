#!/bin/sh
# get_onnxruntime.sh FOLDER: ONNX Runtime's C++ headers (FOLDER/include) and its library for Linux on x86-64
# (FOLDER/lib), from an npm package that carries both (150 MB, Microsoft's builds, MIT licence). For other computers take
# the archive of a release of ONNX Runtime, which has the same folders, or the library inside the package `onnxruntime`
# of PyPI, which must not be older than the headers.
set -eu
package=com.github.asus4.onnxruntime@0.4.9 # ONNX Runtime 1.29.0
folder=${1:?"get_onnxruntime.sh FOLDER: give the folder to write"}
[ ! -e "$folder" ] || { echo "get_onnxruntime.sh: $folder is there already" >&2; exit 1; }

downloads=$(mktemp -d)
trap 'rm -rf "$downloads"' EXIT
(cd "$downloads" && npm pack --silent "$package" >/dev/null && tar -xzf ./*.tgz)
plugins=$downloads/package/Plugins ready=$downloads/ready
mkdir -p "$ready/include" "$ready/lib" "$(dirname "$folder")"
cp "$plugins/Linux/x64/libonnxruntime.so" "$ready/lib/"
# A program looks for the name that the library gives itself.
ln -s libonnxruntime.so "$ready/lib/libonnxruntime.so.1"
cp "$plugins"/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers/*.h "$ready/include/"
# Whole or not at all.
mv "$ready" "$folder"
