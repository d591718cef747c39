import gc
import threading

import numpy as np
import torch

from geopretext.data.memory import Recycler

SHAPE = (3, 1 << 19)


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_is_used_again_when_the_last_view_is_gone() -> None:
    memory = Recycler()
    array = memory.empty(SHAPE, "float32")
    array[:] = 7
    assert array.shape == SHAPE
    assert array.dtype == np.float32
    place, view = address(array), torch.from_numpy(array)[1].numpy()[5:]
    del array
    gc.collect()
    other = memory.empty(SHAPE, "float32")
    other[:] = 1
    assert address(other) != place
    assert (view == 7).all()
    del view
    gc.collect()
    again = memory.empty((SHAPE[1], 12), "uint8")  # as many bytes
    assert address(again) == place


def test_other_sizes_and_small_arrays_are_new() -> None:
    memory = Recycler()
    del_me = memory.empty(SHAPE, "float32")
    place = address(del_me)
    del del_me
    assert address(memory.empty((SHAPE[0] + 1, SHAPE[1]), "float32")) != place
    assert memory.empty((5,), "uint16").flags.owndata
    assert memory.empty((0, 4), "uint16").shape == (0, 4)


def test_idle_memory_is_bounded() -> None:
    memory = Recycler()
    arrays = [memory.empty((1 << 20,), "uint8") for _ in range(40)]
    del arrays
    gc.collect()
    assert len(memory._idle) == 32


def test_threads_never_share_memory() -> None:
    memory, wrong = Recycler(), []

    def work(number: int) -> None:
        for _ in range(30):
            array = memory.empty((1 << 20,), "uint8")
            array[:] = number
            if not (array == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
