"""Operations on the OpenTelemetry API alone: the decorator, services, runs and wrappers."""
