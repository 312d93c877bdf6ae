"""Exports of phones and wearables, written in the form that their makers document or that public recordings have."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmssl.data.formats import FORMATS, read
from mmssl.data.formats.xsens import onwards
from mmssl.data.sheet import Sheet

LINES = 40
EPOCH = 1_700_000_000


def sheet_of(path: Path) -> Sheet:
    sheet = read(path)
    assert sheet is not None
    assert sheet.values.shape == (LINES, len(sheet.names)) and len(sheet.units) == len(sheet.names)
    return sheet


def numbers(columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(LINES, columns)).round(6)


def written(path: Path, above: str, lines: list[list[object]], delimiter: str = ",", end: str = "\n") -> Path:
    text = above + "".join(delimiter.join(map(str, line)) + end for line in lines)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def clock(sheet: Sheet, start: float, step: float = 0.01, *, epoch: bool) -> None:
    assert sheet.seconds is not None and sheet.epoch == epoch
    np.testing.assert_allclose(sheet.seconds, start + step * np.arange(LINES), atol=1e-3 if epoch else 1e-6)


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("Accelerometer", "linear_acc_", "m/s^2"),
        ("TotalAcceleration", "acc_", "m/s^2"),
        ("AccelerometerUncalibrated", "acc_", ""),
        ("Gravity", "grav_", "m/s^2"),
        ("anna-1_Gyroscope", "gyro_", "rad/s"),
        ("Magnetometer", "mag_", "uT"),
        ("i0", "", ""),
    ],
)
def test_sensor_logger(tmp_path: Path, name: str, kind: str, unit: str):
    """Header and units of github.com/tszheichoi/awesome-sensor-logger, UNITS.md of commit 085a7bc: time in nanoseconds
    since 1970, z before y before x."""
    values = numbers(3)
    lines = [[EPOCH * 10**9 + 10**7 * i, f"{0.1 + i / 100:.6f}", *v] for i, v in enumerate(values)]
    sheet = sheet_of(written(tmp_path / f"{name}.csv", "time,seconds_elapsed,z,y,x\n", lines))
    assert sheet.names == tuple(f"{kind}{axis}" for axis in "xyz") and sheet.units == (unit,) * 3
    np.testing.assert_array_equal(sheet.values, values[:, ::-1])
    clock(sheet, EPOCH, epoch=True)


def test_sensor_logger_orientation_and_wrist(tmp_path: Path):
    """The same page: Orientation.csv, and WristMotion.csv of an Apple Watch."""
    values = numbers(7)
    lines = [[EPOCH * 10**9 + 10**7 * i, i / 100, *v] for i, v in enumerate(values)]
    sheet = sheet_of(written(tmp_path / "Orientation.csv", "time,seconds_elapsed,qz,qy,qx,qw,roll,pitch,yaw\n", lines))
    assert sheet.names == ("quat_z", "quat_y", "quat_x", "quat_w")
    np.testing.assert_array_equal(sheet.values, values[:, :4])
    assert sheet.notes == ("columns that are not read: pitch, roll, yaw",)
    columns = [f"{kind}{axis}" for kind in ("rotationRate", "gravity", "acceleration", "quaternion") for axis in "XYZ"]
    values = numbers(13)
    lines = [[EPOCH * 10**9 + 10**7 * i, i / 100, *v] for i, v in enumerate(values)]
    header = ",".join(["time", "seconds_elapsed", *columns, "quaternionW"])
    sheet = sheet_of(written(tmp_path / "WristMotion.csv", header + "\n", lines))
    assert sheet.names == (
        *(f"{k}_{a}" for k in ("gyro", "grav", "linear_acc", "quat") for a in "xyz"),
        "quat_w",
    )
    np.testing.assert_array_equal(sheet.values, values)
    assert sheet.units[:3] == ("rad/s",) * 3


@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), ("\t", "."), (";", "."), ("\t", ","), (";", ",")])
def test_phyphox(tmp_path: Path, delimiter: str, decimal: str):
    """The five kinds of CSV that phyphox 1.1 and later export (phyphox.org/wiki, Exporting data; `<set name>` of
    acceleration.phyphox): quoted headers with units, scientific notation."""
    values = numbers(4)
    header = ["Time (s)", *(f"Acceleration {axis} (m/s^2)" for axis in "xyz"), "Absolute acceleration (m/s^2)"]
    lines: list[list[object]] = [
        [f"{number:.9E}".replace(".", decimal) for number in (i / 100, *v)] for i, v in enumerate(values)
    ]
    above = delimiter.join(f'"{name}"' for name in header) + "\n"
    sheet = sheet_of(written(tmp_path / "Raw Data.csv", above, lines, delimiter))
    assert sheet.names == ("acc_x", "acc_y", "acc_z") and sheet.units == ("m/s^2",) * 3
    np.testing.assert_allclose(sheet.values, values[:, :3], rtol=1e-9)
    clock(sheet, 0, epoch=False)
    assert sheet.notes == ("columns that are not read: Absolute acceleration",)


def test_phyphox_kinds(tmp_path: Path):
    for words, kind, unit in (
        ("Linear Acceleration", "linear_acc", "m/s^2"),
        ("Gyroscope", "gyro", "rad/s"),
        ("Magnetic field", "mag", "µT"),
    ):
        header = ['"Time (s)"', *(f'"{words} {axis} ({unit})"' for axis in "xyz")]
        lines = [[i / 100, *v] for i, v in enumerate(numbers(3))]
        sheet = sheet_of(written(tmp_path / "a.csv", ",".join(header) + "\n", lines))
        assert sheet.names == tuple(f"{kind}_{axis}" for axis in "xyz")
        assert sheet.units == (unit.replace("µ", "u"),) * 3


def test_sensorlog(tmp_path: Path):
    """The header of SensorLog for iOS (sensorlog.berndthomas.net) as public recordings have it: when a line was
    written, a clock for each sensor since the phone's start, units in brackets."""
    columns = [
        *(f"locationHeading{axis}(µT)" for axis in "XYZ"),
        *(f"accelerometerAcceleration{axis}(G)" for axis in "XYZ"),
        *(f"motionUserAcceleration{axis}(G)" for axis in "XYZ"),
        *(f"motionRotationRate{axis}(rad/s)" for axis in "XYZ"),
        *(f"motionQuaternion{axis}(R)" for axis in "XYZW"),
        "motionYaw(rad)",
        "label(N)",
    ]
    header = ["loggingTime(txt)", "loggingSample(N)", "accelerometerTimestamp_sinceReboot(s)", *columns]
    values = numbers(len(columns))
    lines: list[list[object]] = [
        [f"2023-11-14T{23:02d}:13:{20 + i // 100:02d}.{10 * i % 1000:03d}+01:00", i, 4000 + i / 100, *v]
        for i, v in enumerate(values)
    ]
    sheet = sheet_of(written(tmp_path / "a.csv", ",".join(header) + "\n", lines))
    kinds = [f"{kind}_{axis}" for kind in ("acc", "linear_acc", "gyro") for axis in "xyz"]
    assert sheet.names == (*kinds, "quat_x", "quat_y", "quat_z", "quat_w")
    assert sheet.units == ("g",) * 6 + ("rad/s",) * 3 + ("",) * 4
    np.testing.assert_array_equal(sheet.values, values[:, 3:16])
    clock(sheet, EPOCH, epoch=True)
    assert sheet.seconds is not None
    np.testing.assert_allclose(np.diff(sheet.seconds), 0.01, atol=1e-6)


def test_sensorlog_with_raw_sensors(tmp_path: Path):
    """The header that its iPhone's raw sensors have, each with a clock of its own; the first sensor's is that of the
    lines."""
    kinds = {"accelerometer": ("Acceleration", "G"), "gyro": ("Rotation", "rad/s"), "magnetometer": ("", "µT")}
    header = ["loggingTime(txt)", "loggingSample(N)"]
    for sensor, (word, unit) in kinds.items():
        header += [f"{sensor}Timestamp_sinceReboot(s)", *(f"{sensor}{word}{axis}({unit})" for axis in "XYZ")]
    values = numbers(9)
    lines: list[list[object]] = [
        [f"2023-11-14 23:13:20.{10 * i:03d} +0100", i + 1, 50 + i / 100, *v[:3], 51, *v[3:6], 52, *v[6:]]
        for i, v in enumerate(values)
    ]
    sheet = sheet_of(written(tmp_path / "a.csv", ",".join(header) + "\n", lines))
    assert sheet.names == tuple(f"{kind}_{axis}" for kind in ("acc", "gyro", "mag") for axis in "xyz")
    assert sheet.units == ("g",) * 3 + ("rad/s",) * 3 + ("uT",) * 3 and sheet.notes == ()
    np.testing.assert_array_equal(sheet.values, values)
    clock(sheet, EPOCH, epoch=True)


def shimmer(path: Path, mark: str, columns: dict[str, str], values: np.ndarray) -> Path:
    """As Consensys exports of a Shimmer3 are (a file of 2020 in github.com/hpi-dhc/devicely, tests/Shimmer_test_data):
    what separates, in quotes; names with the device before and CAL behind; units; a separator at the end of each."""
    header = ["Shimmer_40AC_Timestamp_Unix_CAL", *(f"Shimmer_40AC_{name}" for name in columns)]
    above = f'"sep={mark}"\n' + mark.join([*header, ""]) + "\n" + mark.join(["ms", *columns.values(), ""]) + "\n"
    lines = [[f"{EPOCH / 1e9 + i * 1e-11:.12f}E12", *v, ""] for i, v in enumerate(values)]
    return written(path, above, lines, mark)


@pytest.mark.parametrize("mark", [";", ",", "\t"])
def test_shimmer(tmp_path: Path, mark: str):
    acc, other = "m/(s^2)", "deg/s"
    columns = {
        **{f"Accel_LN_{axis}_CAL": acc for axis in "XYZ"},
        **{f"Accel_WR_{axis}_CAL": acc for axis in "XYZ"},
        "Battery_CAL": "mV",
        "GSR_Range_CAL": "no_units",
        "GSR_Skin_Conductance_CAL": "uS",
        **{f"Gyro_{axis}_CAL": other for axis in "XYZ"},
        **{f"Gyro_{axis}_RAW": "no_units" for axis in "XYZ"},
        **{f"Mag_{axis}_CAL": "local_flux" for axis in "XYZ"},
        "Pressure_BMP280_CAL": "kPa",
    }
    values = numbers(len(columns))
    sheet = sheet_of(shimmer(tmp_path / "a.csv", mark, columns, values))
    assert sheet.names == (
        "acc_x", "acc_y", "acc_z", "gsr_skin_conductance", "gyro_x", "gyro_y", "gyro_z", "mag_x", "mag_y", "mag_z"
    )  # fmt: skip
    np.testing.assert_array_equal(sheet.values, values[:, [0, 1, 2, 8, 9, 10, 11, 15, 16, 17]])
    assert sheet.units == ("m/s^2",) * 3 + ("uS",) + ("deg/s",) * 3 + ("local_flux",) * 3
    clock(sheet, EPOCH, epoch=True)
    assert "Accel_WR_X" in sheet.notes[0] and "Battery" in sheet.notes[0]


def test_two_shimmers_in_one_file(tmp_path: Path):
    path = shimmer(tmp_path / "a.csv", ",", {"Gyro_X_CAL": "deg/s", "Gyro_Y_CAL": "deg/s"}, numbers(2))
    path.write_text(path.read_text().replace("Shimmer_40AC_Gyro_Y", "Shimmer_8665_Gyro_Y"))
    with pytest.raises(ValueError, match="2 devices in one file"):
        read(path)


def test_shimmer_with_dates(tmp_path: Path):
    path = shimmer(tmp_path / "a.csv", "\t", {"Gyro_X_CAL": "deg/s"}, numbers(1))
    lines = path.read_text().replace("_Timestamp_Unix_CAL", "_TimestampSync_FormattedUnix_CAL").splitlines()
    lines[2] = lines[2].replace("ms", "yyyy/mm/dd hh:mm:ss.000")
    body = [f"2023/11/14 22:13:20.{10 * i:03d}\t" + line.split("\t", 1)[1] for i, line in enumerate(lines[3:])]
    path.write_text("\n".join([*lines[:3], *body]) + "\n")
    clock(sheet_of(path), EPOCH, epoch=True)


DOT = (
    "sep=,\nDeviceTag:,1\nFirmwareVersion:,3.0.0\nAppVersion:,2023.6.0\nSyncStatus:,Synced\nOutputRate:,60Hz\n"
    "FilterProfile:,General\nMeasurement Mode:,Sensor fusion Mode - Extended(Euler)\n"
    "StartTime: ,2025-07-11_20:06:00_086 WEST\n© Movella Technologies B. V. 2005-2025\n\n"
)


@pytest.mark.parametrize("above", [DOT, ""])
def test_movella_dot(tmp_path: Path, above: str):
    """As the app 2023.6 for firmware 3.0 writes custom mode 5, and the exporter without a preamble (XsensDotLogger of
    the SDK names the columns): microseconds in 32 bits, here over their end."""
    values = numbers(10)
    header = "PacketCounter,SampleTimeFine,Quat_W,Quat_X,Quat_Y,Quat_Z,Acc_X,Acc_Y,Acc_Z,Gyr_X,Gyr_Y,Gyr_Z,Status\n"
    lines = [[i + 1, (2**32 - 100_000 + 16_667 * i) % 2**32, *v, 0] for i, v in enumerate(values)]
    sheet = sheet_of(written(tmp_path / "a.csv", above + header, lines))
    assert sheet.names[:5] == ("quat_w", "quat_x", "quat_y", "quat_z", "acc_x") and sheet.names[-1] == "gyro_z"
    np.testing.assert_array_equal(sheet.values, values)
    assert sheet.units == ("",) * 4 + ("m/s^2",) * 3 + ("deg/s",) * 3
    clock(sheet, 0, 0.016667, epoch=False)
    assert sheet.rate == (60.0 if above else None)
    assert sheet.notes == ("columns that are not read: Status",)


def test_movella_dot_free_acceleration_is_not_called_that_of_the_sensor(tmp_path: Path):
    header = "PacketCounter,SampleTimeFine,Euler_X,Euler_Y,Euler_Z,FreeAcc_X,FreeAcc_Y,FreeAcc_Z,Status\n"
    lines = [[i + 1, 16_667 * i, *v, 0] for i, v in enumerate(numbers(6))]
    sheet = sheet_of(written(tmp_path / "a.csv", DOT + header, lines))
    assert sheet.names == tuple(f"{kind}_{axis}" for kind in ("euler", "freeacc") for axis in "xyz")


MTW = (
    "// Start Time: Unknown\n// Update Rate: 100.0Hz\n// Filter Profile: human (46.1)\n"
    "// Option Flags: AHS Disabled ICC Disabled \n// Firmware Version: 4.0.2\n"
)
MTW_2022 = (
    "// General information: \n//  MT Manager version: 2022.2.0 \n// Device information: \n//  DeviceId: 00B42D4F\n"
    "//  ProductCode: MTW2-3A7G6\n//  Firmware Version: 4.4.0\n// Coordinate system: ENU\n"
)


def test_xsens_mtw(tmp_path: Path):
    """MT Manager's text as OpenSim's OpenSense example has it (MT_012005D6_009-001.txt, firmware 4.0.2): comments,
    tabs, no stamps but a counter; here with two packets lost and its end at 65,535 passed."""
    values = numbers(15)
    stamps = ["SampleTimeFine", "Year", "Month", "Day", "Second", "UTC_Nano", "UTC_Valid"]
    signals = ["Acc_X", "Acc_Y", "Acc_Z", "Gyr_X", "Gyr_Y", "Gyr_Z"]
    header = ["PacketCounter", *stamps, *signals, *(f"Mat[{i}][{j}]" for j in (1, 2, 3) for i in (1, 2, 3))]
    counts = [(65_530 + i + 2 * (i > 20)) % 65_536 for i in range(LINES)]
    lines: list[list[object]] = [[counts[i], *[""] * 7, *v] for i, v in enumerate(values)]
    sheet = sheet_of(written(tmp_path / "MT_1.txt", MTW + "\t".join(header) + "\n", lines, "\t"))
    assert sheet.names == tuple(f"{kind}_{axis}" for kind in ("acc", "gyro") for axis in "xyz")
    np.testing.assert_array_equal(sheet.values, values[:, :6])
    assert sheet.units == ("m/s^2",) * 3 + ("rad/s",) * 3 and sheet.rate == 100
    assert sheet.seconds is not None
    np.testing.assert_allclose(sheet.seconds, [(i + 2 * (i > 20)) / 100 for i in range(LINES)])
    assert "Mat[1][1]" in sheet.notes[0] and "packets were lost on the way, by the counter" in sheet.notes


def test_xsens_mt_manager_of_2022(tmp_path: Path):
    """MT Manager 2022.2 has no rate above, and NaN for stamps that a wireless sensor lacks; a wired one counts tenths
    of milliseconds."""
    values = numbers(7)
    header = "PacketCounter\tSampleTimeFine\tYear\tAcc_X\tAcc_Y\tAcc_Z\tQuat_q0\tQuat_q1\tQuat_q2\tQuat_q3\n"
    lines: list[list[object]] = [[51_400 + i, "NaN", "NaN", *v] for i, v in enumerate(values)]
    sheet = sheet_of(written(tmp_path / "MT.txt", MTW_2022 + header, lines, "\t"))
    assert sheet.names == ("acc_x", "acc_y", "acc_z", "quat_w", "quat_x", "quat_y", "quat_z")
    np.testing.assert_array_equal(sheet.values, values)
    assert (sheet.seconds, sheet.rate) == (None, None)
    lines = [[51_400 + i, 7_000 + 100 * i, "NaN", *v] for i, v in enumerate(values)]
    clock(sheet_of(written(tmp_path / "MT.txt", MTW_2022 + header, lines, "\t")), 0, epoch=False)


@pytest.mark.parametrize(
    ("name", "unit", "kind", "epoch"),
    [
        (
            "MetaWear_2019-07-30T12.53.30_Accelerometer_100.000Hz_1.4.5",
            "g",
            "acc",
            "epoc (ms),timestamp (-0700)",
        ),
        ("anna_Accelerometer", "g", "acc", "epoch (ms),time (-13:00)"),
        ("anna_Gyroscope_100.000Hz", "deg/s", "gyro", "epoch (ms),time (01:00)"),
        ("anna_Magnetometer", "T", "mag", "epoch (ms),time (01:00)"),
        ("anna_Linear Acceleration", "g", "linear_acc", "epoch (ms),time (01:00)"),
    ],
)
def test_metabase(tmp_path: Path, name: str, unit: str, kind: str, epoch: str):
    """MbientLab's MetaBase 3 (headers of public recordings; epoc is how older versions spell it)."""
    values = numbers(3)
    header = f"{epoch},elapsed (s)," + ",".join(f"{axis}-axis ({unit})" for axis in "xyz")
    lines = [[EPOCH * 1000 + 10 * i, "2023-11-14T09:13:20.000", i / 100, *v] for i, v in enumerate(values)]
    sheet = sheet_of(written(tmp_path / f"{name}.csv", header + "\n", lines))
    assert sheet.names == tuple(f"{kind}_{axis}" for axis in "xyz") and sheet.units == (unit,) * 3
    np.testing.assert_array_equal(sheet.values, values)
    clock(sheet, EPOCH, epoch=True)


AXIVITY = "Time,Accel-X (g), Accel-Y (g), Accel-Z (g), Gyro-X (d/s), Gyro-Y (d/s), Gyro-Z (d/s)\n"


@pytest.mark.parametrize("columns", [3, 6])
@pytest.mark.parametrize("above", ["", AXIVITY])
def test_axivity(tmp_path: Path, columns: int, above: str):
    """What OmGui and cwa-convert export of AX3 and AX6 (github.com/openmovementproject/openmovement: omconvert's
    synth.md gives header and lines)."""
    values = numbers(columns)
    values[:, :3] = 0.1 * values[:, :3] + [0, 0, 1]
    lines = [[f"2023-11-14 22:13:20.{10 * i:03d}", *(f"{number:.6f}" for number in v)] for i, v in enumerate(values)]
    header = ",".join(above.strip().split(",")[: columns + 1]) + "\n" if above else ""
    sheet = sheet_of(written(tmp_path / "a.csv", header, lines))
    assert sheet.names == tuple(f"{kind}_{axis}" for kind in ("acc", "gyro") for axis in "xyz")[:columns]
    assert sheet.units == (("g",) * 3 + ("deg/s",) * 3)[:columns]
    np.testing.assert_allclose(sheet.values, values, atol=1e-6)
    clock(sheet, EPOCH, epoch=True)
    assert bool(sheet.notes) == (not above)


def test_lines_like_axivitys_in_other_units_are_not_taken_for_its(tmp_path: Path):
    lines = [[f"2023-11-14 22:13:20.{10 * i:03d}", 0.1, 0.2, 9.81] for i in range(LINES)]
    assert read(written(tmp_path / "a.csv", "", lines)) is None


def test_empatica(tmp_path: Path):
    """As info.txt of an E4's zip file says, and github.com/hpi-dhc/devicely's file of 2019 shows: the start in UTC,
    the rate, then acceleration in 1/64 g."""
    values = np.random.default_rng(0).integers(-128, 127, (LINES, 3))
    above = ", ".join([f"{EPOCH}.000000"] * 3) + "\n" + ", ".join(["32.000000"] * 3) + "\n"
    sheet = sheet_of(written(tmp_path / "ACC.csv", above, values.tolist()))
    assert sheet.names == ("acc_x", "acc_y", "acc_z") and sheet.units == ("g",) * 3 and sheet.rate == 32
    np.testing.assert_array_equal(sheet.values, values / 64)
    clock(sheet, EPOCH, 1 / 32, epoch=True)
    for name, unit in (("EDA", "uS"), ("anna_1_BVP", ""), ("TEMP", "degC"), ("HR", "1/min")):
        lines = values[:, :1].tolist()
        sheet = sheet_of(written(tmp_path / f"{name}.csv", f"{EPOCH}.000000\n4.000000\n", lines))
        assert sheet.names == (name.lower().rpartition("_")[2],) and sheet.units == (unit,)
        clock(sheet, EPOCH, 1 / 4, epoch=True)
    with pytest.raises(ValueError, match="must be called as its sensor is"):
        read(written(tmp_path / "a.csv", f"{EPOCH}.000000\n4.000000\n", values[:, :1].tolist()))
    with pytest.raises(ValueError, match="single beats"):
        read(written(tmp_path / "IBI.csv", f"{EPOCH}.000000, IBI\n", [[1.5, 0.8], [2.3, 0.8]]))


ACTI = (
    "------------ Data File Created By ActiGraph GT3X+ ActiLife v6.13.3 Firmware v3.2.1 date format {date} at 30 Hz  "
    "Filter Normal -----------\nSerial Number: NEO1F18120387\nStart Time 22:13:20\nStart Date {start}\n"
    "Epoch Period (hh:mm:ss) 00:00:00\nDownload Time 10:31:05\nDownload Date 5/20/2014\nCurrent Memory Address: 0\n"
    "Current Battery Voltage: 4.07     Mode = 12\n--------------------------------------------------\n"
)


@pytest.mark.parametrize(
    ("date", "start"), [("M/d/yyyy", "11/14/2023"), ("dd/MM/yyyy", "14/11/2023"), ("yyyy-MM-dd", "2023-11-14")]
)
def test_actigraph(tmp_path: Path, date: str, start: str):
    """Raw data as ActiLife 6.13 exports it (MSSE-2021/README.md of github.com/ADALabUCSD/DeepPostures; the Link's has
    gyroscope, magnetometer and temperature): the date's order is said in the first line."""
    values = numbers(3)
    above = ACTI.format(date=date, start=start)
    header = "Accelerometer X,Accelerometer Y,Accelerometer Z\n"
    for titled in (header, ""):
        sheet = sheet_of(written(tmp_path / "a.csv", above + titled, values.tolist()))
        assert sheet.names == ("acc_x", "acc_y", "acc_z") and sheet.units == ("g",) * 3 and sheet.rate == 30
        np.testing.assert_array_equal(sheet.values, values)
        clock(sheet, EPOCH, 1 / 30, epoch=True)
    header = f"Timestamp,{header.strip()},Temperature,Gyroscope X,Gyroscope Y,Gyroscope Z\n"
    lines: list[list[object]] = [[f"{start} 22:13:20.000", *v] for v in numbers(7)]
    sheet = sheet_of(written(tmp_path / "a.csv", above + header, lines))
    assert sheet.names[3:] == ("gyro_x", "gyro_y", "gyro_z") and sheet.units[3:] == ("deg/s",) * 3
    np.testing.assert_array_equal(sheet.values, numbers(7)[:, [0, 1, 2, 4, 5, 6]])
    with pytest.raises(ValueError, match="no Start Time and Start Date"):
        read(written(tmp_path / "a.csv", above.replace("Start Date", "Date") + header, lines))


STARTS = (
    b"time,seconds_elapsed,z,y,x\n1,2,", b'"Time (s)","Gyroscope x (rad/s)"\n1,', b"loggingTime(txt),motionYaw(rad)\n",
    b'"sep=,"\nS_Timestamp_Unix_CAL,S_Gyro_X_CAL\nms,deg/s\n', b"PacketCounter,SampleTimeFine,Acc_X\n1,2,",
    b"// Update Rate: 100.0Hz\nPacketCounter\tAcc_X\n1\t", b"epoch (ms),time (1),elapsed (s),x-axis (g)\n1,",
    b"Time,Accel-X (g)\n2023-11-14 22:13:20.000,", b"1700000000.0\n4.0\n", 
    b"PathFileType\nFrame#\tTime\tA\n\t\tX1\tY1\tZ1\n",
    b'<mvnx><subject frameRate="1"><segments/><frames><frame type="normal"><position>', b"1\n1\n",
    b'[{"image_id": "1", "keypoints": [', b'[{"landmarks": [{"x": 1, "y": ', b"scorer,a\nbodyparts,a\ncoords,x\n",
    b"a_x,a_y,a_score,b_x,b_y,b_score,c_x,c_y,c_score\n1,2,3,", ACTI.format(date="M/d/yyyy", start="1/2/2023").encode(),
)  # fmt: skip
REFUSED = {
    "a.mot": b"Coordinates\nversion=1\nnRows=2\nnColumns=3\ninDegrees=yes\nendheader\ntime\thip\n0\t1\n",
    "angles.txt": b"Coordinates\nversion=1\nnRows=2\nnColumns=3\ninDegrees=yes\nendheader\ntime\thip\n0\t1\n",
    "a.mat": b"MATLAB 5.0 MAT-file, Platform: GLNXA64",
    "a.bvh": b"HIERARCHY\nROOT Hips\n",
    "a.cwa": b"MD\xfc\x03\0",
    "a.gt3x": b"PK\x03\x04",
    "a.npy": b"\x93NUMPY\x01\0",
    "a.xlsx": b"PK\x03\x04",
    "a.bag": b"#ROSBAG V2.0\n",
    "a.csv.gz": b"\x1f\x8b\x08",
    "a.zip": b"PK\x03\x04",
    "a.csv": b"acc\0\1\2",
    "a.h5": b"\x89HDF\r\n",
    "a.mp4": b"\0\0\0 ftypisom",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_says_what_it_is(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(REFUSED[name])
    with pytest.raises(ValueError, match=r"^is ") as caught:
        read(tmp_path / name)
    assert any(
        word in str(caught.value) for word in ("export", "unpack", "save", "writetable", "give", "savetxt", "CSV")
    )


def test_a_folder_is_no_recording(tmp_path: Path):
    with pytest.raises(ValueError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "time,acc_x,acc_y,acc_z\n0,1,2,3\n",
        "nose_x,nose_y,neck_x,neck_y\n1,2,3,4\n",
        "time_ms;a;b\n0;1,5;2\n",
        "1.5 2.5 3.5\n1 2 3\n",
        "",
        "1700000000.5,1700000001.5\n32.0,32.0\n1,2\n",
    ],
)
def test_a_plain_table_is_left_to_its_own_reader(tmp_path: Path, text: str):
    (tmp_path / "a.csv").write_text(text)
    assert read(tmp_path / "a.csv") is None


@pytest.mark.parametrize("name", [one.name for one in FORMATS])
def test_every_format_is_in_the_documentation(name: str):
    assert f"| {name} |" in Path("docs/formats.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name", ["a.c3d", "a.trc", "a.mvnx", "a.skeleton", "a.json", "a.jsonl", "a.csv", "a.txt", "ACC.csv"]
)
@given(
    content=st.one_of(
        st.binary(max_size=300), st.sampled_from(STARTS).flatmap(lambda s: st.binary(max_size=80).map(s.__add__))
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_left_or_refused_in_words(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    try:
        sheet = read(tmp_path / name)
    except ValueError as error:
        assert str(error) and "Traceback" not in str(error)
        return
    assert sheet is None or sheet.values.shape[1] == len(sheet.names)


@given(start=st.integers(0, 2**16 - 1), steps=st.lists(st.integers(1, 30_000), max_size=50))
def test_a_counter_that_begins_again_goes_on(start: int, steps: list[int]):
    counts = (start + np.cumsum([0, *steps])) % 2**16
    np.testing.assert_array_equal(onwards(counts.astype(np.float64), 2**16), np.cumsum([0, *steps]))
