/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small macros that every layer needs. Each argument is evaluated once.
 */
#ifndef XY_BASE_BYTES_H
#define XY_BASE_BYTES_H

#include <stddef.h>

/* The object of `type` whose `member` `pointer` points to. */
#define xy_container_of(pointer, type, member)                                 \
	({                                                                     \
		const __typeof__(((type *)0)->member) *xy_member_ = (pointer); \
		(type *)((char *)xy_member_ - offsetof(type, member));         \
	})

#define xy_min(a, b)                           \
	({                                     \
		__typeof__(a) xy_a_ = (a);     \
		__typeof__(b) xy_b_ = (b);     \
		xy_a_ < xy_b_ ? xy_a_ : xy_b_; \
	})

#define xy_max(a, b)                           \
	({                                     \
		__typeof__(a) xy_a_ = (a);     \
		__typeof__(b) xy_b_ = (b);     \
		xy_a_ > xy_b_ ? xy_a_ : xy_b_; \
	})

/* Number of elements; an array only, a pointer does not compile. */
#define XY_ARRAY_SIZE(array)                                                            \
	(sizeof(array) / sizeof((array)[0]) +                                           \
	 0 * sizeof(struct {                                                            \
		 _Static_assert(!__builtin_types_compatible_p(__typeof__(array),        \
							      __typeof__(&(array)[0])), \
				"not an array");                                        \
		 int xy_;                                                               \
	 }))

#endif
