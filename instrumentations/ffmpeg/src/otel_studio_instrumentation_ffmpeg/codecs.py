"""Which codecs run on hardware, told by their ffmpeg names."""

from __future__ import annotations

#: Hardware kinds by a part of the codec's name between underscores (`h264_nvenc`, `hevc_vaapi`).
_HARDWARE = frozenset(
    {
        "nvenc",
        "cuvid",
        "vaapi",
        "qsv",
        "videotoolbox",
        "amf",
        "v4l2m2m",
        "omx",
        "mediacodec",
        "vulkan",
        "d3d12va",
        "rkmpp",
    }
)

#: Names of formats that are no encoder's own name: ffmpeg picks one, which may be a hardware one.
_FORMATS = frozenset({"h264", "h265", "hevc", "vvc", "av1", "vp8", "vp9"})


def hardware_kind(codec: str | None) -> str | None:
    """Return the kind of hardware a codec runs on, or `None` for software or unknown.

    Args:
        codec: ffmpeg name of an encoder or decoder.

    Example:
        >>> hardware_kind("h264_nvenc"), hardware_kind("libx264")
        ('nvenc', None)
    """
    if codec is None:
        return None
    for part in codec.lower().split("_"):
        if part in _HARDWARE:
            return part
    return None


def is_hardware(codec: str | None) -> bool | None:
    """Return whether a codec runs on hardware; `None` when its name does not tell.

    Args:
        codec: ffmpeg name of an encoder or decoder.

    Example:
        >>> is_hardware("hevc_vaapi"), is_hardware("libx265"), is_hardware("hevc")
        (True, False, None)
    """
    if codec is None or codec.lower() in _FORMATS:
        return None
    return hardware_kind(codec) is not None
