"""H in ten lines: a quote every 10 ms, around 100.

python examples/boundary/market.py run/market.sock
"""

import itertools
import random
import sys
import time
from decimal import Decimal

from msup import Quote
from msup.boundary import MarketSource

if __name__ == "__main__":
    with MarketSource(socket=sys.argv[1]) as market:
        price = Decimal(100)
        for seq in itertools.count(1):
            price, now = price + random.choice([Decimal("-0.01"), Decimal("0.01")]), time.time_ns()
            market.publish(Quote("SYN-A.SIM", "example", now, now, seq, 0, 0, price, Decimal(1), price + 1, Decimal(1)))
            time.sleep(0.01)
