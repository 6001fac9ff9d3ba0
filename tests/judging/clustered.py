"""Work for a cluster, which imports it by name."""

import os
import signal
import time


def slow_squares():
    def square(number):
        if number == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return number * number, os.getppid()

    return square
