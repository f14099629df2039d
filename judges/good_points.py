"""Is the answer good? Points from 1 to 10 by how likely any model says yes, in our own wording, for MT-Bench.

A general judge, quick and crude. Not comparable with published numbers.
"""

from ._shared import own
from ._yes_no import OwnPoints

JUDGE = OwnPoints("good_points", own("good_answer"), ("good", "bad"), words="points, 1 to 10")
