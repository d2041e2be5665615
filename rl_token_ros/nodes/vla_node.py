"""vla_node: queries the VLA with synchronised cameras and joints; publishes its chunk and embeddings, or token, under the observation's stamp."""

from __future__ import annotations

import array
import functools
import importlib
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rl_token_ros.interfaces import image_cdr, images
from rl_token_ros.interfaces.stamps import from_future, stamp_to_ns
from rl_token_ros.interfaces.topics import CAMERA, TYPES
from rl_token_ros.nodes import camera_transport, diagnostics
from rl_token_ros.nodes.camera_topic import CameraTopic
from rl_token_ros.nodes.measurement_topics import StateTopics
from rl_token_ros.nodes.ros_parameters import declare
from rl_token_ros.nodes.ros_topics import publisher, subscription
from rl_token_ros.nodes.running import run
from rl_token_ros.settings.horizon import shortfall
from rl_token_ros.settings.vla import Vla
from rl_token_ros.system.realtime import GIL_SWITCH
from rl_token_ros.system.timing import Percentiles
from rl_token_ros.vla.backend import Answer, BackendError, Observation
from rl_token_ros.vla.make_backend import make_backend
from rl_token_ros.vla.observation import Synchroniser
from rl_token_ros.vla.prepared_pictures import PreparedPictures
from rl_token_ros.vla.query_scheduler import QueryScheduler

DECODE = {"raw": images.to_rgb, "compressed": images.decompress}  # by image_transport

ANSWERING = "answering"


class VlaNode(Node):
    """One query at a time, in a thread of its own, so that callbacks never wait for the model, nor for pictures to be decoded.

    The next query begins when the last is answered, while its chunk is being executed. What comes shortly before that is decoded then already.
    """

    def __init__(self, **options) -> None:
        super().__init__("vla_node", **options)
        self.settings = declare(self, Vla)
        groups = self.settings.measured_groups
        if self.settings.image_transport == "compressed":
            importlib.import_module("PIL")  # decodes; what to install is said before anything waits for pictures
        self.backend = make_backend(self.settings)
        if self.backend.warning:
            self.get_logger().warning(self.backend.warning)
        self.synchroniser = Synchroniser(self.settings)
        self.latency, self.server, self.added, self.age = (Percentiles() for _ in range(4))
        self._steps = 0  # H of the newest answer
        self.queries = self.failures = self.bad_images = 0
        self._counting = threading.Lock()  # of bad images, in both threads
        self._message = "no query yet"
        self._newest_ns = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="vla")
        self._pictures = PreparedPictures(self.settings.cameras, self._decode)
        self._scheduler = QueryScheduler(self.settings)

        self._chunk = JointTrajectory(joint_names=self.settings.chunk_names)
        self._chunk.header.frame_id = self.settings.base_frame
        self._reference = publisher(self, "vla/reference")
        self._embedding = publisher(self, "vla/embedding")
        self._diagnostics = publisher(self, "/diagnostics")
        transport = self.settings.image_transport
        self._answered = self.create_guard_condition(self._query_if_idle)
        self.cameras = []
        for camera in self.settings.cameras:
            topic = CAMERA[transport].format(camera=camera)
            self.cameras.append(CameraTopic(self, topic, TYPES[CAMERA[transport]], functools.partial(self._image, camera, topic)))
        self._state_topics = StateTopics(self, self._state, self.synchroniser.state, groups)
        subscription(self, "task", self._task)
        subscription(self, "episode_ended", lambda _: self.backend.reset())
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _task(self, message: String) -> None:
        self.synchroniser.task = message.data

    def _state(self, topic: str, message: Any, now_ns: int) -> None:
        self.synchroniser.measure(topic, message, now_ns)
        if self.synchroniser.waiting:
            self._query_if_idle()

    def _image(self, camera: str, topic: str, message: bytes | CompressedImage) -> None:
        now = self.get_clock().now().nanoseconds
        if now < self._newest_ns:
            self.synchroniser.forget()  # the clock went back: stamps of before would keep new ones out
        self._newest_ns = now
        try:
            if isinstance(message, bytes):
                message = image_cdr.read(message, topic)
                images.check(message, topic)
            stamp = stamp_to_ns(message.header.stamp) or now
            if from_future(stamp, now):
                raise images.ImageError(f"'{topic}' is stamped {(stamp - now) * 1e-9:.2f} s in the future; do the clocks agree?")
            self.synchroniser.set_image(camera, stamp, message)
            if self._scheduler.soon(time.monotonic_ns(), self.synchroniser.picture_period_ns):
                self._pictures.begin(camera, message)
        except images.ImageError as error:
            self._refuse(error)
            return
        self._query_if_idle()

    def _refuse(self, error: images.ImageError) -> None:
        with self._counting:
            self.bad_images += 1
        self.get_logger().error(str(error), throttle_duration_sec=1.0)

    def _query_if_idle(self) -> None:
        """A new query as soon as the last is answered and `query_rate` allows."""
        if not self._scheduler.due(time.monotonic_ns()):
            return
        if doubled := self._state_topics.doubled():
            self._message = doubled[0]  # what the VLA saw would be one arm's, and its state another's
            return
        observation, why = self.synchroniser.observation(self.get_clock().now().nanoseconds)
        if observation is None:
            self._message = why or self._message
            return
        self._scheduler.asked(time.monotonic_ns())
        self._worker.submit(self._query, observation)

    def _query(self, observation: Observation) -> None:
        """Runs in the worker; both messages are complete before the first goes out."""
        begun = time.perf_counter()
        try:
            answer = self.backend.query(self._pictures.complete(observation))
            reference, embedding = self._messages(observation.stamp_ns, answer)
            self._reference.publish(reference)  # first: it is small, and the arm waits for it
            if embedding is not None:
                self._embedding.publish(embedding)
            self._measure(time.perf_counter() - begun, answer.server_seconds)
            self.age.add((self.get_clock().now().nanoseconds - observation.stamp_ns) * 1e-9)
            self.queries += 1
            self._message, self._steps = ANSWERING, len(answer.actions)
        except images.ImageError as error:
            self._message = str(error)
            self._refuse(error)
        except BackendError as error:
            self.failures += 1
            self._message = str(error).partition("\n")[0]
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
        except Exception as error:  # a dead thread would be silent
            self.failures += 1
            self._message = f"query failed: {error}"
            self.get_logger().error(self._message, throttle_duration_sec=1.0)
        finally:
            self._scheduler.answered(time.monotonic_ns())
            self._answered.trigger()

    def _decode(self, camera: str, message: Any) -> np.ndarray:
        transport = self.settings.image_transport
        return images.resize_with_padding(DECODE[transport](message, CAMERA[transport].format(camera=camera)), *self.settings.picture_size)

    def _measure(self, seconds: float, server_seconds: float | None) -> None:
        self.latency.add(seconds)
        if server_seconds is not None:
            self.server.add(server_seconds)
            self.added.add(seconds - server_seconds)

    def _messages(self, stamp_ns: int, answer: Answer) -> tuple[JointTrajectory, bytes | None]:
        reference, actions = self._chunk, answer.actions.astype(float)
        reference.header.stamp = Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
        if len(reference.points) != len(actions):  # its times are set once: making the message anew takes longer than sending it
            dt_ns = round(self.settings.chunk_dt * 1e9)
            times = [Duration(sec=i * dt_ns // 1_000_000_000, nanosec=i * dt_ns % 1_000_000_000) for i in range(len(actions))]
            reference.points = [JointTrajectoryPoint(time_from_start=each) for each in times]
        for point, action in zip(reference.points, actions):
            point.positions = array.array("d", action.tobytes())
        if not (self.settings.token_size or self._embedding.get_subscription_count()):
            return reference, None  # without a token they are for whoever records them, to make an encoder of
        return reference, answer.embedding_message(stamp_ns)

    def _report(self) -> None:
        ok, message = self._message == ANSWERING, self._message
        if ok and (short := shortfall(self.settings, self._steps, self.age.at(50)[0])):
            ok, message = False, f"{message}, but {short}"
        values = {
            "queries": self.queries,
            "failures": self.failures,
            "bad_images": self.bad_images,
            "bad_states": self._state_topics.refused,
            **self.backend.report(),
            **self.synchroniser.report(),
            **self.latency.report("query_ms", 1e3),
            **self.server.report("server_ms", 1e3),
            **self.added.report("added_ms", 1e3),
            **self.age.report("observation_age_ms", 1e3),
        }
        for camera in self.cameras:
            values |= camera.report()
        status = diagnostics.status(self.get_fully_qualified_name(), "ok" if ok else "warn", message, values)
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), status))

    def close(self) -> None:
        """End the query under way, or wait for a local one."""
        self.backend.close()
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._pictures.close()


def main() -> None:
    """Entry point of `vla_node`."""
    # Fast DDS: hand messages to its own thread. In this one, sending embeddings of 5.7 MB keeps the next query waiting for 5 ms.
    os.environ.setdefault("RMW_FASTRTPS_PUBLICATION_MODE", "ASYNCHRONOUS")
    # Else pictures at 90 Hz hold a query up: a sixth of what benchmark/real_size.py calls added.
    sys.setswitchinterval(GIL_SWITCH)
    camera_transport.use_profile()
    sys.exit(run(VlaNode))


if __name__ == "__main__":
    main()
