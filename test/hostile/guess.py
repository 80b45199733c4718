"""What can be computed from the client ids that a broker assigns, when they come from a generator that is not secret.

xoshiro256** tells its state with four numbers that follow each other, and steps backwards as well as forwards; a state
that splitmix64 has filled tells the seed. An id of two numbers in hexadecimal digits gives half of what is needed."""

import re

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def rotl(x, n):
    return (x << n | x >> (64 - n)) & MASK


def inverse(odd):
    return pow(odd, -1, 1 << 64)


def forward(s):
    """The next state; the number that it gives is output() of the one before."""
    a, b, c, d = s
    t = b << 17 & MASK
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    return a, b, c ^ t, rotl(d, 45)


def backward(s):
    a, b, c, d = s
    d = rotl(d, 19)            # the old d ^ b
    a ^= d                     # the old a
    mixed = b ^ c              # the old b, xored with itself moved by 17
    old_b = mixed
    for _ in range(4):
        old_b = mixed ^ (old_b << 17 & MASK)
    return a, old_b, a ^ old_b ^ b, d ^ old_b


def output(s):
    return rotl(s[1] * 5 & MASK, 7) * 9 & MASK


def state_of(numbers):
    """The state that gave the first of these four numbers, when they follow each other."""
    b0, b1, b2, b3 = (rotl(n * inverse(9) & MASK, 57) * inverse(5) & MASK for n in numbers)
    c1 = b0 ^ b1 ^ (b0 << 17 & MASK)
    a1 = b1 ^ b2 ^ c1
    c2 = b1 ^ b2 ^ (b1 << 17 & MASK)
    d1 = b2 ^ b3 ^ c2 ^ a1 ^ b1
    d0 = rotl(d1, 19) ^ b0
    a0 = a1 ^ d0 ^ b0
    return a0, b0, a0 ^ b0 ^ b1, d0


def unmix(z):
    """What splitmix64 was at when it gave this number."""
    def unshift(y, n):
        x = y
        for _ in range(64 // n + 1):
            x = y ^ x >> n
        return x
    z = unshift(z, 31) * inverse(0x94D049BB133111EB) & MASK
    z = unshift(z, 27) * inverse(0xBF58476D1CE4E5B9) & MASK
    return unshift(z, 30)


def seed_of(state, steps=1 << 16):
    """The seed that filled a state at most so many steps before this one, or None."""
    for _ in range(steps):
        z = [unmix(x) for x in state]
        if (z[1] - z[0]) & MASK == GOLDEN and (z[2] - z[1]) & MASK == GOLDEN:
            return (z[0] - GOLDEN) & MASK
        state = backward(state)
    return None


def numbers_of(client_id):
    """The numbers of 16 hexadecimal digits in an assigned id."""
    digits = re.sub('[^0-9a-fA-F]', '', re.sub('^auto', '', client_id))
    return [int(digits[i:i + 16], 16) for i in range(0, len(digits) - 15, 16)]


def orders(pair):
    """Both orders in which the numbers of an id may have been drawn."""
    return pair, pair[::-1]


def predicts(ids, reach=64):
    """Whether two of these ids, which follow each other, tell a later one. Their state then, or None."""
    pairs = [tuple(numbers_of(i)[:2]) for i in ids]
    if any(len(p) < 2 for p in pairs):
        return None
    for swap in (0, 1):
        drawn = [orders(p)[swap] for p in pairs]
        for i in range(len(drawn)):
            for j in range(i + 1, len(drawn)):
                state = state_of((*drawn[i], *drawn[j]))
                s = state
                for _ in range(4):
                    s = forward(s)
                later = set()
                for _ in range(reach):
                    later.add(output(s))
                    s = forward(s)
                if any(n in later for p in drawn[j + 1:] for n in p):
                    return state
    return None
