"""The sizes of objects: arrays by their buffers, containers to a bound, nothing imported."""

from __future__ import annotations

import importlib
import mmap
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.base.sizing import ObjectSizer


@pytest.fixture
def sizer() -> ObjectSizer:
    return ObjectSizer(max_seconds=60)


def test_text_and_bytes_are_their_own_size(sizer: ObjectSizer) -> None:
    """Plain values are what the interpreter says."""
    for plain in ("text", b"bytes", bytearray(1000), 10**30, 1.5, None):
        assert sizer.size(plain).bytes == sys.getsizeof(plain)


def test_an_array_is_its_buffer(sizer: ObjectSizer) -> None:
    """200 MB of numbers are 200 MB, also inside of a container."""
    np = pytest.importorskip("numpy")
    array = np.zeros(25_000_000)
    assert sizer.size(array).bytes == pytest.approx(200_000_000, abs=1000)
    assert sizer.size({"frames": [array]}).bytes == pytest.approx(200_000_000, abs=2000)


def test_views_count_the_memory_they_keep_alive_once(sizer: ObjectSizer) -> None:
    """A view keeps its whole base; base and views together are one buffer."""
    np = pytest.importorskip("numpy")
    base = np.zeros(1_000_000)
    assert sizer.size(base[:10]).bytes == pytest.approx(8_000_000, abs=1000)
    assert sizer.size([base, base[::2], base[5:]]).bytes == pytest.approx(8_000_000, abs=2000)
    assert sizer.size([base[::2], base]).bytes == pytest.approx(8_000_000, abs=2000)
    assert sizer.size(np.broadcast_to(np.zeros(1), (1_000_000,))).bytes < 1000


def test_a_mapped_file_is_not_memory(sizer: ObjectSizer, tmp_path: Path) -> None:
    """An array over a file takes its pages from the file."""
    np = pytest.importorskip("numpy")
    path = tmp_path / "data"
    path.write_bytes(bytes(1_000_000))
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as file:
        array = np.memmap(path, mode="r")
        assert sizer.size(array).bytes < 10_000
        del array
        assert len(file) == 1_000_000


class FakeTensor:
    """What torch's tensors answer, without torch."""

    def __init__(self, size: int, device: str = "cpu", storage: Any = None) -> None:
        self.device = SimpleNamespace(type=device)
        self.storage = storage or SimpleNamespace(data_ptr=lambda: id(self), nbytes=lambda: size)

    def untyped_storage(self) -> Any:
        return self.storage


def test_a_tensor_is_its_storage_in_main_memory(sizer: ObjectSizer) -> None:
    """Tensors that share a storage count it once; one on a GPU takes no main memory."""
    tensor = FakeTensor(4_000_000)
    view = FakeTensor(0, storage=tensor.storage)
    assert sizer.size([tensor, view]).bytes == pytest.approx(4_000_000, abs=1000)
    assert sizer.size(FakeTensor(4_000_000, device="cuda")).bytes < 1000


@pytest.mark.only_where(find_spec("torch") is not None, "PyTorch, which takes gigabytes")
def test_real_tensors_are_sized(sizer: ObjectSizer) -> None:
    """The same with torch itself, where it is installed."""
    torch = importlib.import_module("torch")
    tensor = torch.zeros(1_000_000, dtype=torch.float32)
    assert sizer.size([tensor, tensor[::2]]).bytes == pytest.approx(4_000_000, abs=2000)


def test_instances_count_their_fields(sizer: ObjectSizer) -> None:
    """Fields count, in __dict__ and in slots; modules, classes and functions do not."""

    class Slotted:
        __slots__ = ("data",)

        def __init__(self) -> None:
            self.data = bytes(50_000)

    class Plain:
        def __init__(self) -> None:
            self.data = {"a": bytes(10_000), "b": Slotted()}
            self.module = pytest
            self.kind = Slotted
            self.function = sys.getsizeof

    assert 60_000 < sizer.size(Plain()).bytes < 62_000


def test_a_container_that_holds_itself_ends(sizer: ObjectSizer) -> None:
    """A cycle is walked once."""
    cycle: list[Any] = []
    cycle.append(cycle)
    assert sizer.size(cycle).complete


def test_large_containers_are_projected() -> None:
    """A hundred thousand equal elements are projected from a thousand, and that is said."""
    rows = [bytes(1_000 + number % 2) for number in range(100_000)]
    size = ObjectSizer(max_elements=1_000, max_seconds=60).size(rows)
    exact = sys.getsizeof(rows) + sum(map(sys.getsizeof, rows))
    assert not size.complete
    assert size.bytes == pytest.approx(exact, rel=0.01)


def test_depth_is_bounded() -> None:
    """What lies deeper is not followed, and the size is said to be incomplete."""
    nested: Any = bytes(100_000)
    for _ in range(10):
        nested = [nested]
    size = ObjectSizer(max_depth=3).size(nested)
    assert size.bytes < 1_000
    assert not size.complete


def test_a_type_may_bring_its_own_sizer(sizer: ObjectSizer) -> None:
    """A registered sizer is used for the type and its subclasses, also inside of containers."""

    class Frame: ...

    class KeyFrame(Frame): ...

    sizer.register(Frame, lambda frame: 7_000_000)
    assert sizer.size([Frame(), KeyFrame()]).bytes == pytest.approx(14_000_000, abs=1000)
    sizer.register(KeyFrame, lambda frame: None)
    assert sizer.size(KeyFrame()).bytes == 0


def test_a_wrong_registration_is_refused(sizer: ObjectSizer) -> None:
    """The refusal says what was expected."""
    with pytest.raises(TypeError, match="give the class"):
        sizer.register("Frame", len)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give a function"):
        sizer.register(bytes, 5)  # type: ignore[arg-type]


def test_a_container_that_changes_meanwhile_raises_nothing(sizer: ObjectSizer) -> None:
    """Another thread may fill and empty the mapping while it is sized."""
    data: dict[int, bytes] = dict.fromkeys(range(1000), b"x")
    done = threading.Event()

    def change() -> None:
        number = 0
        while not done.is_set():
            data[number % 3_000] = b"y"
            data.pop((number * 7) % 3_000, None)
            number += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(50):
            assert sizer.size(data).bytes > 0
    finally:
        done.set()
        thread.join()


plain = st.one_of(st.none(), st.integers(), st.text(max_size=20), st.binary(max_size=20))
trees = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=30,
)


@given(trees, st.integers(0, 5), st.integers(0, 40))
def test_any_tree_is_at_least_itself(tree: Any, depth: int, elements: int) -> None:
    """A size is never less than the object's own, whatever the bounds."""
    size = ObjectSizer(max_depth=depth, max_elements=elements).size(tree)
    assert size.bytes >= sys.getsizeof(tree)
