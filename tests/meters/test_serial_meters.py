"""Meters on serial ports and hidraw, against simulated peers at pseudo-terminals (meter_peers.py)."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from meter_peers import PPK2_AMPS, PPK2_METADATA, CsvPeer, FnirsiPeer, Peer, Ppk2Peer, Tc66cPeer, Um25cPeer
from meter_reading import read_until, samples, wait_until

from devices.meters.kinds import KINDS, settings_of
from devices.meters.lookup import find_meter, meters_path
from devices.meters.rates import rates
from devices.meters.recorder import Recorder, gather
from devices.meters.recording import load_recording
from firmware_tools.errors import (
    InstrumentError,
    LineError,
    MeterAccessError,
    NoAnswerError,
    ReplyError,
    SettingError,
    UnknownMeterError,
)


def test_ppk2_measures_without_driving_anything():
    with Ppk2Peer() as peer, find_meter(f"ppk2:{peer.port}", {"supply_mv": "4900"}) as meter:
        trace = read_until(meter, samples(10_000))
        info = meter.info()
        found = rates(trace, info)
        assert peer.mode == 1
        assert peer.millivolts == 0
        assert peer.powered
    assert b"\x0d" not in peer.heard
    assert b"\x0c\x00" not in peer.heard
    assert trace.current_a == pytest.approx(PPK2_AMPS)
    assert trace.power_w == pytest.approx(PPK2_AMPS * 4.9)
    assert np.isnan(trace.supply_v).all()
    assert found.delivered_hz == pytest.approx(100_000)
    assert found.effective_hz == found.delivered_hz
    assert set(trace.inputs) == {0, 1}
    assert (info.identity, info.clock, info.has_trigger) == ("PPK2 HW 9173", "meter", True)
    assert info.settings["supply"] == "given by the user"
    assert info.settings["reported"]["mode"] == "1"


def test_ppk2_with_an_assumed_supply_reports_it_and_is_less_accurate():
    with Ppk2Peer() as peer:
        with find_meter(f"ppk2:{peer.port}", {"accuracy": 0.01}) as meter:
            unsure = meter.info()
        with find_meter(f"ppk2:{peer.port}", {"accuracy": 0.01, "supply_mv": 5000}) as meter:
            sure = meter.info()
    assert unsure.settings["supply"] == "assumed"
    assert unsure.gain_uncertainty > 2 * sure.gain_uncertainty
    assert "supply not measured" in unsure.accuracy_source


def test_ppk2_as_a_source_keeps_its_output_over_starts_and_stops_and_ends_it_at_the_end():
    with Ppk2Peer() as peer:
        with find_meter(f"ppk2:{peer.port}", {"mode": "source", "supply_mv": 3300}) as meter:
            for _ in range(2):
                read_until(meter, samples(1))
            assert (peer.mode, peer.millivolts, peer.powered) == (2, 3300, True)
            assert meter.info().settings["reported"]["VDD"] == "3300"
            assert b"\x0c\x00" not in peer.heard
        wait_until(lambda: peer.powered is False)
    assert peer.heard.index(b"\x0d\x0c\xe4") < peer.heard.index(b"\x0c\x01")  # the voltage is set before power is on


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "source"},
        {"mode": "source", "supply_mv": 799},
        {"mode": "source", "supply_mv": 5001},
        {"mode": "source", "supply_mv": "5 V"},
        {"mode": "feed"},
        {"supply_mv": float("nan")},
    ],
)
def test_ppk2_hears_nothing_of_settings_that_are_wrong(settings):
    with Ppk2Peer() as peer:
        with pytest.raises(SettingError):
            find_meter(f"ppk2:{peer.port}", settings)
        assert peer.heard == b""


def test_a_supply_that_is_too_much_for_a_ppk2_is_refused_with_advice():
    with pytest.raises(SettingError) as caught:
        find_meter("ppk2:/dev/null", {"supply_mv": 5100})
    assert "measured after the kit" in caught.value.hint


def test_ppk2_with_broken_constants_is_never_switched_on():
    with Ppk2Peer(metadata=PPK2_METADATA.replace("R4: 0.05", "R4: 0.0")) as peer:
        with (
            pytest.raises(ReplyError, match="R4"),
            find_meter(f"ppk2:{peer.port}", {"mode": "source", "supply_mv": 5000}),
        ):
            pass
        assert b"\x0d" not in peer.heard
        assert b"\x0c\x01" not in peer.heard


def test_ppk2_losses_are_counted():
    with Ppk2Peer(skip_at=5000) as peer, find_meter(f"ppk2:{peer.port}") as meter:
        trace = read_until(meter, lambda trace: trace.lost and trace.damaged)
    assert trace.lost == 5 + 8  # the codec omits the eight words before a break, see ppk2_stream.py
    assert trace.damaged == 1


def test_um25c_counts_new_values():
    with Um25cPeer() as peer, find_meter(f"um25c:{peer.port}") as meter:
        trace = read_until(meter, samples(3))  # of which two are alike
        info = meter.info()
        found = rates(trace, info)
    assert info.identity == "UM25C"
    assert found.samples <= peer.answers
    assert found.effective_hz < found.delivered_hz
    assert trace.supply_v == pytest.approx(5.1)


def test_tc66c_reports_its_identity():
    with Tc66cPeer() as peer, find_meter(f"tc66c:{peer.port}") as meter:
        trace = read_until(meter, samples(2))
        info = meter.info()
    assert info.identity == "TC66 1.14 serial 4711"
    assert trace.power_w == pytest.approx(2.55)


def test_fnirsi_is_kept_awake():
    def asked(times):
        return lambda trace: len(trace) and peer.heard.count(b"\x00\xaa\x83") >= times

    with FnirsiPeer() as peer, find_meter(f"fnirsi:{peer.port}") as meter:
        trace = read_until(meter, asked(4))  # when entered, when started, and twice since: without, it falls silent
    assert trace.power_w == pytest.approx(5.12 * 0.4)
    assert 0 < len(trace) <= 4 * peer.reports
    assert meter.info().nominal_rate_hz == 100
    whole = len(peer.heard) // 65 * 65
    assert all(peer.heard[at] == 0 for at in range(0, whole, 65)), peer.heard


@pytest.mark.parametrize("is_timed", [True, False])
def test_csv_of_a_sketch(is_timed):
    header = ("time_ms," if is_timed else "") + "millivolts,milliamps"
    with CsvPeer(header, is_timed) as peer, find_meter(f"csv:{peer.port}", {"baud": 9600}) as meter:
        trace = read_until(meter, samples(6))
        assert meter.info().clock == ("meter" if is_timed else "host")
    assert set(np.round(trace.power_w, 6)) == {2.0, 2.005}


SILENT = {
    "ppk2": "did not answer as a PPK2",
    "um25c": "did not answer as a UM25C",
    "tc66c": "did not answer as a TC66C",
    "fnirsi": "did not answer as a FNIRSI",
    "csv": "printed no reading",
    "edge": "did not answer IDENTIFY",
}


def test_ports_where_no_meter_answers():
    def error_of(name):
        with pytest.raises(NoAnswerError) as caught, find_meter(name):
            pass
        return str(caught.value)

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(SILENT)) as pool:  # each waits for up to 5 s
        ports = {kind: stack.enter_context(Peer()).port for kind in SILENT}
        errors = {kind: pool.submit(error_of, f"{kind}:{port}") for kind, port in ports.items()}
        for kind, words in SILENT.items():
            assert words in errors[kind].result()


def test_a_meter_that_falls_silent():
    with Ppk2Peer() as peer, find_meter(f"ppk2:{peer.port}") as meter:
        heard = []

        def take(trace, _):
            heard.append(trace)
            peer.silent, peer._streaming = True, False

        with pytest.raises(NoAnswerError, match="no sample for"):
            gather(meter, take, silence_s=0.2)
    assert heard


@pytest.mark.parametrize("peer_class", [Ppk2Peer, Um25cPeer, Tc66cPeer, FnirsiPeer, CsvPeer])
def test_unplugged_while_reading_keeps_what_came(peer_class, tmp_path):
    kind = peer_class.__name__.removesuffix("Peer").lower()
    with peer_class() as peer, find_meter(f"{kind}:{peer.port}") as meter:
        with Recorder(meter, path=tmp_path / "a.edgetrace") as recorder:
            recorder.wait_for_samples(5.0)
            peer.unplug()
            recorder._thread.join(10)
        recording = recorder.recording()
    assert isinstance(recorder.error, LineError), recorder.error
    assert len(recording.trace)
    assert recording.incomplete
    kept = load_recording(tmp_path / "a.edgetrace")
    assert np.array_equal(kept.trace.time_s, recording.trace.time_s)
    assert kept.incomplete == recording.incomplete
    assert np.array_equal(kept.arrivals, recording.arrivals)


def test_a_recorder_alongside_other_work(tmp_path):
    with Ppk2Peer() as peer, find_meter(f"ppk2:{peer.port}") as meter:
        with Recorder(meter, notes={"what": "idle"}) as recorder:
            recorder.wait_for_samples(5.0)
            begun_s = peer._begin
            wait_until(lambda: len(recorder.recording().arrivals) > 5)
        stopped_s, recording = time.monotonic(), recorder.recording()
    assert recorder.error is None
    assert recording.incomplete is None
    assert recording.notes == {"what": "idle"}
    meter_s, host_s = recording.arrivals.T
    assert (host_s > begun_s + meter_s - meter_s[0]).all()  # none before it was sent
    assert (np.diff(host_s) > 0).all()
    assert host_s[-1] <= stopped_s
    assert np.isin(meter_s, recording.trace.time_s).all()


def test_a_port_is_for_one_at_a_time():
    with Ppk2Peer() as peer, find_meter(f"ppk2:{peer.port}"):
        with pytest.raises(MeterAccessError, match="another program") as caught, find_meter(f"ppk2:{peer.port}"):
            pass
        assert caught.value.hint


def test_what_is_no_port(tmp_path):
    with pytest.raises(UnknownMeterError, match="there is no"), find_meter(f"ppk2:{tmp_path}/nothing"):
        pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(MeterAccessError), find_meter(f"ppk2:{tmp_path}/file"):
        pass
    with pytest.raises(UnknownMeterError), find_meter(f"fnirsi:{tmp_path}/nothing"):
        pass


def test_only_started_meters_are_read():
    not_started = pytest.raises(InstrumentError, match="not started")
    with Ppk2Peer() as peer, find_meter(f"ppk2:{peer.port}") as meter, not_started:
        meter.read(0.1)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bench", "KIND:ADDRESS"),
        ("ppk:/dev/ttyACM0", "did you mean ppk2"),
        ("ppk2:", "such as ppk2:/dev/ttyACM0"),
        (":x", "kinds are"),
    ],
)
def test_names_that_are_none(name, hint):
    with pytest.raises(UnknownMeterError) as caught:
        find_meter(name)
    assert hint in caught.value.hint


def test_named_meters():
    with Ppk2Peer() as peer:
        meters_path().write_text(f'[meters.bench]\nkind = "ppk2"\naddress = "{peer.port}"\nsupply_mv = 4800\n')
        with find_meter("bench") as meter:
            assert meter.info().name == "bench"
            assert meter.info().settings["supply_mv"] == 4800
        with find_meter("bench", {"supply_mv": "4900"}) as meter:
            assert meter.info().settings["supply_mv"] == 4900


@pytest.mark.parametrize(
    "text", ["[meters", "meters = 1", "[meters.a]\nkind = 1", '[meters."a:b"]\nkind="csv"\naddress="x"']
)
def test_a_file_of_meters_that_is_wrong(text):
    meters_path().write_text(text)
    with pytest.raises(UnknownMeterError, match="cannot be used"):
        find_meter("a")


def test_every_kind_can_be_made_and_has_settings_with_bounds():
    for kind in KINDS.values():
        assert find_meter(kind.example).name == kind.example
        for setting in settings_of(kind.name):
            assert setting.type is str or setting.type is bool or (setting.low is not None and setting.high is not None)
