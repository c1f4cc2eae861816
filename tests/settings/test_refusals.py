"""What cannot be used: a keyword raises, the environment and the file are warned of."""

from __future__ import annotations

import pytest

from otel_studio.settings.loading import ConfigurationError, Settings


class Hostile:
    def __repr__(self):
        raise RuntimeError("no repr")

    def __getattribute__(self, name):
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        raise RuntimeError("no attributes")


BAD_KEYWORDS = [
    ("service_name", 5, "service_name=5 cannot be used: give a name for this process"),
    ("prometheus_port", 70_000, "give a whole number from 0 to 65535"),
    ("prometheus_port", "9464", "prometheus_port='9464' cannot be used: give a whole number"),
    ("prometheus_port", True, "give a whole number"),
    ("prometheus_port", 10**400, "give a whole number"),
    ("gpu", 1, "gpu=1 cannot be used: give true or false"),
    ("slow_threshold", -1, "give a number of seconds from 0 to 86400"),
    ("slow_threshold", float("nan"), "give a number of seconds"),
    ("slow_threshold", 10**400, "give a number of seconds"),
    ("histogram_bounds", [2, 1], "rising numbers of seconds above 0"),
    ("histogram_bounds", "0.1,0.2", "rising numbers of seconds above 0"),
    ("histogram_bounds", [], "rising numbers of seconds above 0"),
    ("traces_exporter", "oltp", "none, or a list out of otlp, console and installed"),
    ("traces_exporter", ["none", 3], "none, or a list"),
    ("metrics_exporter", ",", "none, or a list"),
    ("otlp_protocol", "http", "give one of http/protobuf, grpc"),
    ("sampler", "sometimes", "give one of always_on, always_off"),
    ("sampler", Hostile(), "sampler=a Hostile cannot be used"),
    ("sampler_arg", 0.5, "give it together with sampler traceidratio or parentbased_traceidratio"),
    ("export_batch_size", 10_000, "no more than export_queue_size, which is 8192"),
    ("instrument", "shop services", "a list of modules such as"),
    ("instrument", 5, "a list of modules such as"),
    ("expected_errors", "OutOfStock", 'full names of exceptions such as "shop.errors.OutOfStock"'),
    ("expected_errors", ["int"], "a list of full names of exceptions"),
    ("expected_errors", ["shop.errors.Out-Of-Stock"], "a list of full names of exceptions"),
    ("expected_errors", ["shop..OutOfStock"], "a list of full names of exceptions"),
    ("expected_errors", [KeyError], "a list of full names of exceptions"),
    ("expected_errors", KeyError, "a list of full names of exceptions"),
    ("redact_patterns", ["("], "a list of regular expressions"),
    ("resource_attributes", {"a": object()}, "attributes as name=value"),
    ("resource_attributes", {3: "a"}, "attributes as name=value"),
    ("resource_attributes", "novalue", "attributes as name=value"),
    ("resource_attributes", 5, "attributes as name=value"),
    ("log_level", "loud", "give one of off, debug, info"),
]


@pytest.mark.parametrize(("name", "value", "words"), BAD_KEYWORDS)
def test_a_keyword_that_cannot_be_used_raises_one_sentence(load, name, value, words):
    """It says what was wrong and what to give."""
    with pytest.raises(ConfigurationError) as caught:
        load(**{name: value})
    message = str(caught.value)
    assert words in message
    assert message.startswith(name)
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prometheus_prot", "prometheus_prot is not a setting; did you mean prometheus_port"),
        ("zzz", "zzz is not a setting."),
    ],
)
def test_a_keyword_that_is_no_setting_raises_with_near_names(load, name, message):
    """Also when its value is `None`: a slip of the pen never passes."""
    with pytest.raises(ConfigurationError, match="^" + message.replace(".", r"\.")):
        load(**{name: None})


def test_a_very_long_value_is_shown_in_part(load):
    """The sentence stays one that a person reads."""
    with pytest.raises(ConfigurationError) as caught:
        load(log_level="x" * 100_000)
    assert len(str(caught.value)) < 300


BAD_VARIABLES = [
    ("OTEL_SDK_DISABLED", "1", "OTEL_SDK_DISABLED='1' cannot be used: give true or false; False"),
    ("OTEL_BSP_SCHEDULE_DELAY", "-4", "give a number of milliseconds from 1 to 3600000; 5.0 is"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "give a whole number from 1 to 1000000; 8192 is used."),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999", "export_queue_size, which is 8192; 8192 is used."),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many", "give a whole number from 1 to 1000000; 2048"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "inf", "give a number of milliseconds from 100 to 86400000"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "99999", "give a whole number from 0 to 65535; 9464"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "9" * 9999, "give a whole number from 0 to 65535; 9464"),
    ("OTEL_EXPORTER_PROMETHEUS_HOST", "a b", "give a host name or an address; '127.0.0.1'"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/protobuf, grpc; 'http/protobuf' is used."),
    ("OTEL_TRACES_EXPORTER", "jaegre", "otlp, console and installed exporters; () is used."),
    ("OTEL_TRACES_SAMPLER", "half", "or a Sampler; 'parentbased_always_on' is used."),
    ("OTEL_TRACES_SAMPLER_ARG", "0.5", "give it together with sampler traceidratio"),
    ("OTEL_RESOURCE_ATTRIBUTES", "a", "give attributes as name=value,name=value; {} is used."),
    ("OTEL_STUDIO_HISTOGRAM_BOUNDS", "1,1", "rising numbers of seconds above 0; (0.0005"),
    ("OTEL_STUDIO_LOGGING", "maybe", "give true or false; False is used."),
    ("OTEL_STUDIO_INSTRUMENT", "shop services", "a list of modules such as"),
]


@pytest.mark.parametrize(("variable", "text", "words"), BAD_VARIABLES)
def test_a_variable_that_cannot_be_used_is_said_once_and_left_out(
    load, caplog, variable, text, words
):
    """The host gets the default and one sentence in its log, however often it is loaded."""
    settings = load({variable: text})
    load({variable: text})
    [record] = caplog.records
    assert words in record.getMessage()
    assert record.getMessage().startswith(f"{variable}=")
    assert "\n" not in record.getMessage()
    if variable != "OTEL_BSP_MAX_EXPORT_BATCH_SIZE":
        assert settings == Settings()


@pytest.mark.parametrize("argument", ["7", "-0.1", "nan", "half"])
def test_a_ratio_out_of_range_means_every_trace(load, caplog, argument):
    """A sampler's argument is checked against the sampler that it is for."""
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": argument}
    assert load(environ).sampler_arg == 1.0
    [record] = caplog.records
    assert "give a number from 0 to 1 for traceidratio; 1.0 is used." in record.getMessage()


def test_a_bad_variable_uncovers_the_file(load, pyproject, caplog):
    """What cannot be used counts as not said; the sentence names what is used."""
    pyproject("log_rate = 3")
    assert load({"OTEL_STUDIO_LOG_RATE": "x"}).log_rate == 3
    assert caplog.messages == [
        "OTEL_STUDIO_LOG_RATE='x' cannot be used: give a whole number from 1 to 100000; 3 is used."
    ]


def test_a_bad_value_in_the_file_is_said_with_its_path(load, pyproject, caplog):
    """The file never breaks the host either."""
    path = pyproject('log_rate = "3"')
    assert load() == Settings()
    [message] = caplog.messages
    assert message.startswith(f"log_rate = '3' in {path} cannot be used: give a whole number")


def test_an_unknown_key_in_the_file_is_said_with_near_names(load, pyproject, caplog):
    """A slip in the file is as clear as one in a keyword."""
    path = pyproject("log_rat = 3")
    load()
    assert caplog.messages == [
        f"log_rat in {path} is not a setting; did you mean log_rate?",
    ]


def test_a_variable_close_to_one_of_ours_is_said(load, caplog):
    """A slip in a variable's name would otherwise never show."""
    load({"OTEL_STUDIO_INSTRUMNT": "shop.*", "OTEL_STUDIO_FFMPEG_BINARY": "other package's"})
    [message] = caplog.messages
    assert message.startswith("The variable OTEL_STUDIO_INSTRUMNT is not a setting; did you mean")
    assert "OTEL_STUDIO_INSTRUMENT" in message


@pytest.mark.parametrize(
    "content",
    [
        b"[tool.otel_studio\n",
        b"# otel_studio\n\xff\xfe\n",
        b"# otel_studio\na = " + b"[" * 5_000,
    ],
)
def test_a_broken_file_is_said_and_left_out(load, tmp_path, caplog, content):
    """Text that is no TOML, bytes that are no text, nesting without end."""
    path = tmp_path / "pyproject.toml"
    path.write_bytes(content)
    assert load() == Settings()
    [message] = caplog.messages
    assert message.startswith(f"{path} cannot be read: give valid TOML (")


@pytest.mark.parametrize("content", ["tool = 3 # otel_studio", "[tool]\notel_studio = 3"])
def test_a_file_without_our_table_says_nothing(load, tmp_path, caplog, content):
    """Where the table should be, there may be something else."""
    (tmp_path / "pyproject.toml").write_text(content)
    assert load() == Settings()
    assert not caplog.records
