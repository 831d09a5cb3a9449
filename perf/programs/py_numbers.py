"""Boards, primes, large integers, sorting by keys. argv: how many rounds."""
import random
import sys
from fractions import Fraction


def queens(size, row=0, placed=()):
    if row == size:
        return 1
    return sum(queens(size, row + 1, placed + (column,)) for column in range(size)
               if all(column != c and abs(column - c) != row - r for r, c in enumerate(placed)))


def primes(limit):
    composite, found = {}, []
    for n in range(2, limit):
        for prime in composite.pop(n, ()):
            composite.setdefault(n + prime, []).append(prime)
        else:
            if not any(n % p == 0 for p in found[:20] if p * p <= n):
                composite.setdefault(n * n, []).append(n)
                found.append(n)
    return found


chance, total = random.Random(3), 0
for turn in range(int(sys.argv[1])):
    total += queens(6) + len(primes(6000))
    points = [(chance.random(), chance.randrange(1000), str(i)) for i in range(8000)]
    points.sort(key=lambda point: (point[1], point[0]))
    total += int(points[0][2]) + sum(Fraction(1, n) for n in range(1, 120)).numerator % 1000 + len(str(3 ** 4000))
print(total)
