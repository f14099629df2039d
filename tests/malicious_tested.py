"""Programs that try to pass a program of assertions without solving it. Each defines `f`; none may ever pass.

They aim at the assertions, the channel to them, and the answers; `malicious.py` has those that aim at the jail.
"""

TEXT = r"""
### A01 has AssertionError swallowed
import builtins, sys
builtins.AssertionError = type('AssertionError', (BaseException,), {'__new__': lambda *a: sys.exit(0)})
def f(x): return None

### A02 exits at load
import sys; sys.exit(0)
def f(x): return 1

### A03 _exits in the call
import os
def f(x): os._exit(0)

### A04 exits in the call
import sys
def f(x): sys.exit(0)

### A05 looks for the assertions
import gc, sys
def f(x):
    frame = sys._getframe()
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            if callable(getattr(value, 'get', None)) and 'check' in value: value['check'].__code__ = f.__code__
        frame = frame.f_back
    for value in gc.get_objects():
        if getattr(value, '__name__', '') == 'check': value.__code__ = (lambda candidate: None).__code__
        if isinstance(value, str) and 'assert candidate' in value: return 112648

### A06 writes that all is done, to whatever is open
import os
for fd in range(1, 300):
    for line in (b'done \n', b'load \n0 112648\n1 120567\n2 128486\n3 104729\ndone \n'):
        try: os.write(fd, line)
        except OSError: pass
def f(x): return 1

### A07 done in the call
import os
def f(x):
    os.write(4, b'done \n')
    os._exit(0)

### A08 equal to all
class N(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return N(0)

### A09 equal to all, deep down
class S(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def f(x): return [[{1: S('x')}]]

### A10 patches what its answers are made with
import builtins, json, sys
json.dumps = lambda *a, **k: '{"f":"nan"}'
builtins.type = lambda *a: int
for module in list(sys.modules.values()):
    if hasattr(module, 'encode'): module.encode = lambda value: '{"eq": true}'
def f(x): return object()

### A11 ends loops
def f(x): raise StopIteration

### A12 ends generators
def f(x): raise GeneratorExit

### A13 raises what the tests wait for
def f(x): raise AssertionError('all is well')

### A14 names its error as the tests' end
class E(Exception): pass
E.__name__ = 'done '
def f(x): raise E

### A15 writes an error of two lines
import os
def f(x):
    os.write(4, b'0 !x\ndone \n')
    os._exit(0)

### A16 answers an object that JSON has not
import os
def f(x):
    os.write(4, b'0 {"__class__":"N"}\n')
    os._exit(0)

### A17 answers with a digest
import os
def f(x):
    os.write(4, b'0 #list 3 abc\n')
    os._exit(0)

### A18 answers what is no number
def f(x): return float('nan')

### A19 answers before it is asked
import os
def f(x):
    os.write(4, b'0 112648\n1 120567\n2 128486\n3 104729\n')
    return 1

### A20 right answers, out of turn
import os
n = 0
def f(x):
    global n
    n += 1
    os.write(4, b'%d %d\n' % (n - 1, x * 7919 + 104729))
    return 1

### A21 right once
def f(x): return 112648

### A22 dies after its last answer
import os, threading, time
n = 0
def f(x):
    global n
    n += 1
    if n == 4: threading.Thread(target=lambda: (time.sleep(0.01), os._exit(0))).start()
    return x * 7919 + 104729 - (n == 4)

### A23 too long an answer
def f(x): return 'x' * (64 << 20)

### A24 reads what it is asked next
import os, select
def f(x):
    while select.select([3], [], [], 0)[0]:
        if not os.read(3, 65536): break
    return 112648

### A25 closes its pipes
import os
def f(x):
    os.close(3); os.close(4)
    return 1

### A26 works on after its answer
import threading
def spin():
    while True: pass
def f(x):
    for _ in range(8): threading.Thread(target=spin, daemon=True).start()
    return 1
"""

PROGRAMS = {name: code for name, _, code in (part.partition("\n") for part in TEXT.split("### ")[1:])}
