"""The sizes of the services, and what the kernel says of the memory."""

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import memory, units
from ansible_collections.clink.django_stack.plugins.modules import app_services
from ansible_collections.clink.django_stack.plugins.plugin_utils.sizes import PROCESS, sizes

RAMS = [256, 456, 512, 600, 601, 960, 1100, 1101, 1970, 3920, 7950, 15900, 64000, 257000]


def of(ram, cpus):
    return sizes({"memtotal_mb": ram, "processor_nproc": cpus})


def test_small_hosts():
    assert of(456, 1) == {
        "gunicorn_workers": 1, "gunicorn_threads": 8, "celery_processes": 1,
        "redis_mb": 64, "rabbitmq_mb": 160, "shared_buffers_mb": 64, "cache_mb": 228,
        "maintenance_mb": 32, "work_mb": 4, "swap_mb": 1024,
    }  # fmt: skip
    assert of(960, 2) == of(960, 1) == {
        "gunicorn_workers": 1, "gunicorn_threads": 8, "celery_processes": 1,
        "redis_mb": 96, "rabbitmq_mb": 160, "shared_buffers_mb": 120, "cache_mb": 480,
        "maintenance_mb": 60, "work_mb": 4, "swap_mb": 1024,
    }  # fmt: skip


def test_a_play_without_facts_is_told_what_to_gather():
    with pytest.raises(ValueError, match=r"memtotal_mb and processor_nproc: gather"):
        sizes({})
    with pytest.raises(ValueError, match=r"not gathered processor_nproc: .*gather_subset"):
        sizes({"memtotal_mb": 960})


def test_larger_hosts():
    told = of(1970, 1)
    assert (told["gunicorn_workers"], told["gunicorn_threads"], told["swap_mb"]) == (2, 4, 0)
    assert of(3920, 4)["gunicorn_workers"] == 5
    assert of(3920, 4)["celery_processes"] == 4
    assert of(257000, 64)["shared_buffers_mb"] == 8192


@pytest.mark.parametrize("cpus", [1, 2, 4, 64])
@pytest.mark.parametrize("ram", RAMS)
def test_all_sizes_fit_together(ram, cpus):
    told = of(ram, cpus)
    application = PROCESS * (told["gunicorn_workers"] + told["celery_processes"])
    assert application <= max(ram / 2, 2 * PROCESS)
    assert told["shared_buffers_mb"] + told["redis_mb"] <= max(ram / 4, 128)
    larger = of(ram * 2, cpus)
    falling = {"gunicorn_threads", "swap_mb"}
    assert all(larger[name] >= value for name, value in told.items() if name not in falling)


def test_free_memory_is_that_of_the_ram_and_the_swap():
    text = "MemTotal:  983040 kB\nMemAvailable: 102400 kB\nSwapTotal: 100 kB\nSwapFree: 51200 kB\n"
    assert memory.available(text) == 150
    assert memory.available("MemAvailable: 102400 kB\n") == 100
    assert memory.too_little(text) == ""
    warning = memory.too_little("MemAvailable: 102400 kB\nHugePages_Total: 0\n")
    assert warning.startswith("100 MB of memory and swap are free, and a deploy needs about 150 MB")


@pytest.mark.parametrize(("swap", "pause"), [(0, True), (64, False)])
def test_two_gunicorns_need_memory_or_swap(monkeypatch, tmp_path, swap, pause):
    free = tmp_path / "meminfo"
    free.write_text(f"MemAvailable: {100 * 1024} kB\nSwapFree: {swap * 1024} kB\n")
    monkeypatch.setattr(memory, "MEMORY", free)
    monkeypatch.setattr(app_services, "resident", lambda _: 100)
    monkeypatch.setattr(units, "show", lambda *_: {"MainPID": "7"})
    done = []

    def systemctl(*arguments, **_):
        done.append(arguments)
        return units.Result(0, "", 0.0)

    monkeypatch.setattr(units, "systemctl", systemctl)
    service = {"unit": "gunicorn.service", "handover": "gunicorn-handover.service", "reserve": 64}
    told = app_services.hand_over(service)
    assert (("restart", "gunicorn-handover.service") in done) == (not pause)
    assert ("restart", "gunicorn.service") in done
    assert (told != []) == pause
    if pause:
        assert told == ["gunicorn has 100 MB and 100 MB are free: it restarts with a pause"]


def test_the_kernel_counts_what_it_kills():
    assert memory.kills("oom_kill_other 9\noom_kill 3\nx 1\n") == 3
    assert memory.kills("x 1\n") == 0  # a kernel before 4.13
    assert memory.kills(memory.COUNTERS.read_text()) >= 0
    assert memory.available(memory.MEMORY.read_text()) > 0
