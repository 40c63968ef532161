"""A field of one's own: times of day, each as the place of the hand on a dial of 24 hours."""

from math import atan2, cos, pi, sin

from torch import tensor

from seqpipe.data.base import Field, FieldSpec


class Clock(Field):
    """Times such as `08:15 17:40`, (T, 2): 23:59 is close to 00:01."""

    kind = "values"
    spec = FieldSpec("values", size=2)

    def encode(self, record):
        angles = [2 * pi * self.minutes(time) / 1440 for time in self.value(record).split()]
        return tensor([[sin(angle), cos(angle)] for angle in angles])

    def decode(self, values):
        minutes = [round(atan2(*map(float, step)) / 2 / pi * 1440) % 1440 for step in values]
        return " ".join(f"{number // 60:02}:{number % 60:02}" for number in minutes)

    def minutes(self, time):
        hour, _, minute = time.partition(":")
        if not (hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60):
            self.refuse(time, "not a time of day; allowed: 00:00 to 23:59")
        return int(hour) * 60 + int(minute)
