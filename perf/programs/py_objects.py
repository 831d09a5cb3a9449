"""Trees and linked objects that come and go, with cycles for the garbage collector. argv: how many rounds."""
import random
import sys


class Node:
    def __init__(self, left, right, label):
        self.left, self.right, self.label = left, right, label
        self.parent = None


def tree(depth):
    if depth == 0:
        return Node(None, None, "leaf")
    node = Node(tree(depth - 1), tree(depth - 1), f"depth {depth}")
    node.left.parent = node.right.parent = node
    return node


def count(node):
    return 0 if node is None else 1 + count(node.left) + count(node.right)


chance = random.Random(1)
kept, total = [None] * 40, 0
for turn in range(int(sys.argv[1])):
    kept[chance.randrange(len(kept))] = tree(chance.randrange(5, 11))
    total += count(kept[chance.randrange(len(kept))])
print(total)
