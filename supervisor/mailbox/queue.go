package mailbox

// queue is a first-in first-out ring that grows. What stands in it has a number that it keeps: the how-manieth push it was, from 1.
type queue[T any] struct {
	items  []T // power of two, or empty
	head   int
	n      int
	popped uint64
}

func (q *queue[T]) len() int { return q.n }

func (q *queue[T]) push(item T) uint64 {
	if q.n == len(q.items) {
		grown := make([]T, max(16, 2*len(q.items)))
		for i := range q.n {
			grown[i] = q.items[(q.head+i)&(len(q.items)-1)]
		}
		q.items, q.head = grown, 0
	}
	q.items[(q.head+q.n)&(len(q.items)-1)] = item
	q.n++
	return q.popped + uint64(q.n)
}

// at returns what has that number; it must still be there. The pointer holds until the next push.
func (q *queue[T]) at(number uint64) *T {
	return &q.items[(q.head+int(number-q.popped)-1)&(len(q.items)-1)]
}

func (q *queue[T]) first() *T { return &q.items[q.head] }

func (q *queue[T]) pop() T {
	item := q.items[q.head]
	var zero T
	q.items[q.head] = zero // so that the garbage collector can have it
	q.head = (q.head + 1) & (len(q.items) - 1)
	q.n--
	q.popped++
	return item
}
