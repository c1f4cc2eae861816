"""The real PyTorch, on the processor: its own optimizers, hooks and allocator."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.only_where(
    find_spec("torch") is not None, "PyTorch, which takes gigabytes"
)


def run(script: str) -> None:
    """Run a script in a Python of its own: PyTorch is imported there, and only there."""
    start = """
        import sys
        import otel_studio_instrumentation_torch as timed
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        instrumentor = timed.TorchInstrumentor()
        instrumentor.instrument(tracer_provider=provider)
    """
    text = textwrap.dedent(start) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_real_optimizers_are_timed() -> None:
    """Each step of each optimizer is counted and becomes a span; closures and results stay."""
    run("""
        assert "torch" not in sys.modules
        import torch
        parameter = torch.nn.Parameter(torch.ones(4))
        adam, sgd = torch.optim.AdamW([parameter]), torch.optim.SGD([parameter], lr=0.1)
        for _ in range(5):
            parameter.square().sum().backward()
            adam.step()
        assert sgd.step(lambda: torch.tensor(3.0)) == 3.0
        found = {each.name: each.steps for each in timed.optimizers()}
        assert found == {"AdamW": 5, "SGD": 1}, found
        assert all(each.average_step_ms > 0 for each in timed.optimizers())
        names = [span.name for span in exporter.get_finished_spans()]
        assert names == ["AdamW.step"] * 5 + ["SGD.step"], names
        assert timed.cuda_memory() == [] and not torch.cuda.is_initialized()
        instrumentor.uninstrument()
        adam.step()
        from torch.optim import optimizer
        assert not optimizer._global_optimizer_pre_hooks
        assert not optimizer._global_optimizer_post_hooks
        assert len(exporter.get_finished_spans()) == 6
    """)


def test_an_optimizer_that_raises_is_unfinished() -> None:
    """The exception passes unchanged, and the next step tells of it."""
    run("""
        import torch
        parameter = torch.nn.Parameter(torch.ones(4))
        sgd = torch.optim.SGD([parameter], lr=0.1)
        try:
            sgd.step(lambda: 1 // 0)
        except ZeroDivisionError:
            pass
        else:
            raise AssertionError("no exception")
        sgd.step()
        (figures,) = timed.optimizers()
        assert (figures.steps, figures.unfinished_steps) == (1, 1), figures
    """)


def test_uninstrumented_before_the_import_nothing_is_hooked() -> None:
    """Turned off again before PyTorch is imported, it stays off."""
    run("""
        instrumentor.uninstrument()
        import torch
        parameter = torch.nn.Parameter(torch.ones(4))
        torch.optim.SGD([parameter], lr=0.1).step()
        assert timed.optimizers() == []
    """)
