"""Keyword before variable before file before default."""

from __future__ import annotations

import pickle

import pytest

from otel_studio.settings.loading import ConfigurationError, Settings, checked_keywords


def test_without_anything_said_every_setting_has_its_default(load):
    """An empty environment gives exactly the table's defaults, and nothing leaves the process."""
    settings = load()
    assert settings == Settings()
    assert settings.traces_exporter == settings.metrics_exporter == settings.logs_exporter == ()


def test_keyword_goes_before_variable_before_file_before_default(load, pyproject):
    """Taking the sources away one by one uncovers the next."""
    pyproject("log_rate = 3")
    environ = {"OTEL_STUDIO_LOG_RATE": "2"}
    assert load(environ, log_rate=1).log_rate == 1
    assert load(environ).log_rate == 2
    assert load().log_rate == 3
    pyproject("")
    assert load().log_rate == Settings().log_rate


def test_a_keyword_that_is_none_says_nothing(load):
    """Wrappers may pass their own optional arguments through."""
    assert load({"OTEL_SERVICE_NAME": "shop"}, service_name=None).service_name == "shop"


def test_an_empty_or_blank_variable_says_nothing(load):
    """OpenTelemetry's rule: an empty variable counts as not set."""
    assert load({"OTEL_SERVICE_NAME": "  ", "OTEL_STUDIO_LOG_RATE": ""}) == Settings()


def test_the_file_is_found_in_the_nearest_parent_that_has_the_table(load, tmp_path, pyproject):
    """A package of a larger repository without a table of its own takes the repository's."""
    from otel_studio.settings.loading import load_settings

    pyproject('service_name = "whole-shop"')
    inner = tmp_path / "packages" / "basket"
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").write_text('[project]\nname = "basket"\n')
    assert load_settings({}, inner).service_name == "whole-shop"
    (inner / "pyproject.toml").write_text('[tool.otel_studio]\nservice_name = "basket"\n')
    assert load_settings({}, inner).service_name == "basket"


def test_the_working_directory_is_where_the_search_begins(monkeypatch, tmp_path, pyproject):
    """Without a directory the working directory's file counts."""
    from otel_studio.settings.loading import load_settings

    pyproject("gpu = false")
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).gpu is False


def test_a_deleted_working_directory_is_no_file(monkeypatch, tmp_path):
    """A daemon may outlive the directory it was started in."""
    from otel_studio.settings.loading import load_settings

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load_settings({}) == Settings()


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "unknown_service"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=basket,team=a"}, "basket"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=b", "OTEL_SERVICE_NAME": "shop"}, "shop"),
    ],
)
def test_service_name_comes_from_its_variable_then_from_the_resource(load, environ, name):
    """As OpenTelemetry's specification orders the two variables."""
    assert load(environ).service_name == name


def test_service_name_in_the_resource_variable_goes_before_the_file(load, pyproject):
    """A variable goes before the file, also where it says the name in another way."""
    pyproject('service_name = "from-file"')
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=deployed"}
    assert load(environ).service_name == "deployed"
    assert load(environ, service_name="given").service_name == "given"


def test_resource_attributes_of_all_sources_add_up(load, pyproject):
    """A deployment adds its attributes to those that the code gives."""
    pyproject('resource_attributes = {a = "file", b = "file", c = 3}')
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "b=variable,d=50%25"}
    settings = load(environ, resource_attributes={"a": "keyword"})
    assert settings.resource_attributes == {"a": "keyword", "b": "variable", "c": 3, "d": "50%"}


def test_the_protocol_of_one_signal_falls_back_to_the_common_one(load):
    """`OTEL_EXPORTER_OTLP_PROTOCOL` holds for the signals that say nothing themselves."""
    settings = load(
        {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
        }
    )
    assert settings.otlp_traces_protocol == settings.otlp_metrics_protocol == "grpc"
    assert settings.otlp_logs_protocol == "http/protobuf"


def test_millisecond_variables_become_seconds(load):
    """OpenTelemetry counts these variables in milliseconds; keyword and file are in seconds."""
    settings = load({"OTEL_BSP_SCHEDULE_DELAY": "250", "OTEL_METRIC_EXPORT_INTERVAL": "1500"})
    assert (settings.export_interval, settings.metric_export_interval) == (0.25, 1.5)
    assert load(export_interval=0.25).export_interval == 0.25


def test_exporters_are_a_list_and_none_is_no_exporter(load):
    """As in OpenTelemetry: names split at commas, `none` alone for nothing."""
    environ = {"OTEL_TRACES_EXPORTER": "otlp, console", "OTEL_METRICS_EXPORTER": "none"}
    assert load(environ).traces_exporter == ("otlp", "console")
    assert load(environ).metrics_exporter == ()
    assert load(metrics_exporter=["prometheus", "otlp"]).metrics_exporter == ("prometheus", "otlp")


def test_an_exporter_of_an_installed_package_is_known_by_its_name(load):
    """What the SDK itself would load by entry point may be named here too."""
    assert load(traces_exporter="otlp_proto_grpc").traces_exporter == ("otlp_proto_grpc",)


def test_a_sampler_object_is_taken_as_it_is(load):
    """Anything with `should_sample` is a sampler."""

    class Never:
        def should_sample(self):
            raise NotImplementedError

    sampler = Never()
    assert load(sampler=sampler, sampler_arg=3).sampler is sampler


def test_differences_say_both_values(load):
    """A second `configure` can say where it differs; what it is not given is not compared."""
    settings = load(log_rate=3, resource_attributes={"team": "media", "zone": "a"})
    assert settings.differences({}) == []
    assert settings.differences({"log_rate": 3, "resource_attributes": {"team": "media"}}) == []
    assert settings.differences({"log_rate": 5, "resource_attributes": {"team": "web"}}) == [
        "log_rate is 3, not 5",
        "resource_attributes is {'team': 'media'}, not {'team': 'web'}",
    ]


def test_keywords_are_checked_one_by_one():
    """Without the environment, and without the settings that a value would have to go with."""
    assert checked_keywords(
        {"traces_exporter": "otlp", "export_batch_size": 100_000, "log_rate": None}
    ) == {"traces_exporter": ("otlp",), "export_batch_size": 100_000}
    with pytest.raises(ConfigurationError, match=r"log_rate=0 cannot be used: give"):
        checked_keywords({"log_rate": 0})
    with pytest.raises(ConfigurationError, match="log_rat is not a setting; did you mean log_rate"):
        checked_keywords({"log_rat": 1})


def test_settings_show_what_is_not_the_default(load):
    """And no secret: neither values under such names, nor the patterns of secret text."""
    assert repr(load()) == "Settings()"
    shown = repr(
        load(
            service_name="shop",
            resource_attributes={"team": "media", "vault.api-key": "k1"},
            redact_patterns=("tok-[0-9]+",),
        )
    )
    assert shown == (
        "Settings(service_name='shop', resource_attributes={'team': 'media', "
        "'vault.api-key': <hidden>}, redact_patterns=<hidden>)"
    )


def test_settings_are_frozen_and_pickle(load):
    """Worker processes may be handed the parent's settings."""
    settings = load(service_name="shop")
    with pytest.raises(AttributeError):
        settings.service_name = "other"
    assert pickle.loads(pickle.dumps(settings)) == settings
