"""Makes the text of resources and scopes safe: of hosts, paths and loggers."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_studio.base.text import safe_attributes, safe_line


def safe_resource(resource: Resource) -> Resource:
    """Return a resource with safe text; the same object where it is safe.

    Args:
        resource: whatever describes the process.
    """
    found = safe_attributes(resource.attributes)
    url = safe_line(resource.schema_url or "")
    if found is resource.attributes and url == (resource.schema_url or ""):
        return resource
    return Resource(dict(found), url)


def safe_scope(scope: InstrumentationScope) -> InstrumentationScope:
    """Return an instrumentation scope with safe text; the same object where it is safe."""
    name, version = safe_line(scope.name or ""), scope.version and safe_line(scope.version)
    url = scope.schema_url and safe_line(scope.schema_url)
    attributes = scope.attributes and safe_attributes(scope.attributes)
    same = name == (scope.name or "") and version == scope.version and url == scope.schema_url
    if same and attributes is scope.attributes:
        return scope
    return InstrumentationScope(name, version, url, attributes)
