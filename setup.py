"""Builds rl_token_ros for pip and for colcon alike. Name, version and licence are read from package.xml."""

import os
from glob import glob
from xml.etree import ElementTree

from setuptools import Distribution, find_packages, setup

manifest = ElementTree.parse(os.path.join(os.path.dirname(os.path.abspath(__file__)), "package.xml")).getroot()
name = manifest.findtext("name")

# A version is bounded only where a reason is written beside it.
robot = ["numpy", "onnxruntime", "pyyaml", "safetensors"]  # control and VLA: no torch on the robot

# The modules of each extra stand in rl_token_ros/system/extras.py, too, from which a verb says what to install.
bags = ["mcap", "rosbags", "zstandard"]  # writing and reading bags without ROS; the learner keeps what it received in one
# 2.5 is the first for Python 3.13 and NumPy 2. 2.13 is the newest this was measured with; bounded because builds of torch
# differ by gigabytes: with a CPU build at hand (an index or a wheel of yours) this picks it, not a newer CUDA one.
torch = ["torch>=2.5,<2.14"]
learner = bags + torch
report = bags + ["matplotlib"]
token = bags + torch + ["onnx"]  # an encoder from bags
# 3.3 to 3.8 are the releases whose contacts the shipped models were trained and measured on, and all serve Python 3.10.
sim = ["mujoco>=3.3,<3.9"]
# A VLA on a policy server, and compressed images.
vla = [
    "websockets>=15",  # the first whose client for threads keeps a quiet connection alive
    "msgpack>=1",  # the first that tells text from bytes by default, as openpi does
    "pillow",  # resizes and decodes
]
train = learner + sim + ["onnx"]  # makes the shipped models again

# ROS 2 from PyPI for machines without a ROS installation: Linux on x86-64, CPython 3.10 to 3.13, which is what the marker says, so that
# elsewhere the extras are empty. Exact versions: libraries of one release, linked against each other.
wheels = "; sys_platform == 'linux' and platform_machine == 'x86_64' and python_version < '3.14'"
ros_packages = {  # Kilted, Jazzy
    "rclpy": ("9.1.2", "7.1.6"),
    "rmw-fastrtps-cpp": ("9.3.3", "8.4.3"),  # rclpy names no middleware of its own
    "ament-index-python": ("1.11.0", "1.8.1"),
    "builtin-interfaces": ("2.3.0", "2.0.3"),
    "diagnostic-msgs": ("5.5.1", "5.3.6"),
    "geometry-msgs": ("5.5.1", "5.3.6"),
    "rcl-interfaces": ("2.3.0", "2.0.3"),
    "rosgraph-msgs": ("2.3.0", "2.0.3"),
    "sensor-msgs": ("5.5.1", "5.3.6"),
    "std-msgs": ("5.5.1", "5.3.6"),
    "std-srvs": ("5.5.1", "5.3.6"),
    "trajectory-msgs": ("5.5.1", "5.3.6"),
}
kilted, jazzy = ([f"ros-{package}=={versions[release]}{wheels}" for package, versions in ros_packages.items()] for release in (0, 1))
demo = learner + sim + ["matplotlib"]
test = vla + [
    "pytest<8.4",  # launch_pytest, where it is installed, breaks the collection of 8.4
    "pytest-xdist",  # make test-fast, on all cores
    "hypothesis",
    "onnx",  # small models are built on the spot
    "setuptools>=70.1",  # the first that builds a wheel without the package `wheel`
]
# `make check`. Exact versions where each formats, or finds, something else than the one before.
dev = ["ruff==0.17.6", "mypy==2.4.1", "import-linter>=2", "types-PyYAML"]


class WithData(Distribution):
    """setuptools installs the files of share/ and lib/ with an editable package only if this method, which it forgot, exists."""

    def has_data(self):
        return self.has_data_files()


share = f"share/{name}"
setup(
    name=name,
    distclass=WithData,
    version=manifest.findtext("version"),
    description=manifest.findtext("description"),
    maintainer=manifest.findtext("maintainer"),
    maintainer_email=manifest.find("maintainer").get("email"),
    license=manifest.findtext("license"),
    classifiers=[
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["py.typed", "models/*", "nodes/*.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (share, ["package.xml"]),
        (f"{share}/launch", sorted(glob("launch/*.launch.py"))),
        (f"{share}/config", [*sorted(glob("config/*.yaml")), f"{name}/nodes/large_messages.fastdds.xml"]),  # the profile is for drivers, too
        (f"{share}/config/sros2", sorted(glob("config/sros2/*.xml"))),
        # What `ros2 run` and launch files start. Not console scripts: those would put names like `check` on everyone's PATH.
        (f"lib/{name}", sorted(path for path in glob("scripts/*") if not path.endswith(".sh"))),
    ],
    entry_points={"console_scripts": ["rl_token = rl_token_ros.cli:main"]},
    install_requires=robot,
    extras_require={
        "bags": bags,
        "learner": learner,
        "vla": vla,
        "sim": sim,
        "report": report,
        "token": token,
        "train": train,
        "ros": kilted,
        "ros-jazzy": jazzy,
        "demo": demo,
        "test": test,
        "dev": dev,
    },
    zip_safe=False,
)
