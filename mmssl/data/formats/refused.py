"""Formats that are recognised and not supported, with the shortest way to one that is."""

from mmssl.data.formats.start import Start

_CSV = "export CSV, with a column for each axis or channel"
_NUMPY = "a NumPy file: numpy.savetxt('name.csv', array, delimiter=',', header='acc_x,acc_y,acc_z', comments='')"
_BY_SUFFIX = {
    (".mot", ".sto"): "an OpenSim file of angles or forces, and no places of joints: give the .trc of its markers",
    (".mat",): "a MATLAB file: writetable(T, 'name.csv') in MATLAB writes one that is read",
    (".bvh", ".fbx", ".amc", ".asf"): "angles of a skeleton's bones: export the joints' places, as C3D, TRC or CSV",
    (".cwa",): "Axivity's binary file: export it from OmGui as raw CSV, or by cwa-convert NAME.cwa -out NAME.csv",
    (".gt3x",): "ActiGraph's binary file: export raw data as CSV from ActiLife or CentrePoint",
    (".bin",): f"a binary file, as GENEActiv writes: {_CSV}",
    (".npy", ".npz"): _NUMPY,
    (".xlsx", ".xls", ".ods"): "a spreadsheet: save it as CSV",
    (".bag", ".db3", ".mcap"): f"a ROS bag: {_CSV}, as by rostopic echo -p",
    (".h5", ".hdf5", ".pkl", ".pickle", ".rds", ".parquet", ".feather"): f"a file that programs write: {_CSV}",
    (".mp4", ".avi", ".mov", ".mkv"): "a video: find its poses first, as by MediaPipe or OpenPose, and give those",
    (".mtb", ".mvn"): "Xsens' own file: export MVNX from MVN, or text from MT Manager",
    (".qtm", ".tdf", ".vsk", ".x2d", ".cap", ".trb"): "a motion capture system's own file: export C3D or TRC",
}  # fmt: skip
_BY_MAGIC = {
    b"\x1f\x8b": "compressed by gzip: unpack it",
    b"PK\x03\x04": "a zip file: unpack it (a spreadsheet: save it as CSV)",
    b"MATLAB 5.0 MAT": "a MATLAB file: writetable(T, 'name.csv') in MATLAB writes one that is read",
    b"\x89HDF": f"HDF5: {_CSV}",
    b"\x93NUMPY": _NUMPY,
    b"7z\xbc\xaf": "compressed by 7-Zip: unpack it",
    b"BZh": "compressed by bzip2: unpack it",
    b"PAR1": f"Parquet: {_CSV}",
    b"#ROSBAG": f"a ROS bag: {_CSV}, as by rostopic echo -p",
    b"HIERARCHY": "BVH, angles of a skeleton's bones: export the joints' places, as C3D, TRC or CSV",
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def refusal(start: Start) -> str:
    """The reason why a file is not read; empty for one that may be."""
    if start.path.is_dir():
        return "is a folder without OpenPose's NAME_000000000000_keypoints.json: no other folder is one recording"
    for magic, why in _BY_MAGIC.items():
        if start.head.startswith(magic):
            return f"is {why}"
    for suffixes, why in _BY_SUFFIX.items():
        if start.suffix in suffixes:
            return f"is {why}"
    if b"inDegrees" in start.head[:2000] and b"endheader" in start.head[:4000]:
        return f"is {_BY_SUFFIX[('.mot', '.sto')]}"
    if start.suffix in (".json", ".jsonl"):
        return "is an unknown kind of JSON; OpenPose, AlphaPose and MediaPipe's can be read"
    if b"\0" in start.head and not start.head.startswith(_UTF16):
        return f"is a binary file of an unknown kind: {_CSV}"
    return ""
