"""Work whose workers say which cards they see, and carry nothing out."""

import os

from harness import Work, Worker


class CardSeen(Work, Worker):
    def open(self):
        return self

    def run(self, task, tell):
        tell("working", os.environ.get("CUDA_VISIBLE_DEVICES"))
