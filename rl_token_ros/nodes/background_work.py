"""What takes long and must not delay a tick: embeddings become tokens and new weights are checked, on a thread of their own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import UInt8MultiArray

from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.interfaces import image_cdr
from rl_token_ros.interfaces.images import ImageError
from rl_token_ros.nodes.measurement_topics import LATCHED
from rl_token_ros.system.timing import Percentiles


class Beside:
    """Subscribes to `vla/embedding` and `actor/weights`; of each the newest counts, and what came before it may be left out.

    Args:
        node: subscribes, and logs.
        pipeline: takes what is finished, in its next call.
        refuse: told about each embedding that cannot be used.
    """

    def __init__(self, node: Node, pipeline: Pipeline, refuse: Callable[[Exception], None]) -> None:
        self._pipeline, self._refuse, self._logger = pipeline, refuse, node.get_logger()
        self.encode = Percentiles()
        # Newest only; one thread appends, one other pops, each in one atomic operation.
        self._embeddings: deque[bytes] = deque(maxlen=1)
        self.blobs: deque[bytes] = deque(maxlen=1)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="control_worker")
        # As bytes: rclpy would convert megabytes before it calls, on the thread that ticks.
        if pipeline.controller.settings.token_size:
            node.create_subscription(Image, "vla/embedding", self._on_embedding, QoSProfile(depth=1), raw=True)
        node.create_subscription(UInt8MultiArray, "actor/weights", self._on_weights, LATCHED)

    def _on_embedding(self, raw: bytes) -> None:
        self._embeddings.append(raw)
        self._worker.submit(self._encode)

    def _encode(self) -> None:
        if not self._embeddings:
            return  # a newer one took its place, and has been encoded
        raw, begun = self._embeddings.pop(), time.perf_counter()
        try:
            message = image_cdr.read(raw, "vla/embedding")
        except ImageError as error:
            self._refuse(error)
            return
        if self._pipeline.encode(message):
            self.encode.add(time.perf_counter() - begun)

    def _on_weights(self, message: UInt8MultiArray) -> None:
        self.blobs.append(bytes(message.data))
        self._worker.submit(self._admit)

    def _admit(self) -> None:
        if not self.blobs:
            return
        gate = self._pipeline.gate
        try:
            accepted = gate.accepted
            self._pipeline.admit(self.blobs.pop())
            if gate.accepted > accepted and gate.large_change:
                self._logger.warning(f"new weights change the residuals by {gate.change:.2f} of residual_scale", throttle_duration_sec=10.0)
        except Exception as error:  # of any kind: a dead job would be silent
            self._logger.error(f"'actor/weights' refused: {error}", throttle_duration_sec=1.0)

    def close(self) -> None:
        """What runs is finished, what waits is dropped."""
        self._worker.shutdown(wait=True, cancel_futures=True)
