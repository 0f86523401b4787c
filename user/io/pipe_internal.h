/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/*
 * What the parts of the pipe share; private to user/io.
 *
 * A pipe's content is a list of links, each a stretch of a segment. Bytes of a segment never change
 * once they are committed, so that any number of slices may refer to them. The rest of a segment
 * has at most one owner: the one link, or the one pool, that may go on writing behind `end`.
 */
#ifndef XY_IO_PIPE_INTERNAL_H
#define XY_IO_PIPE_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xylem/pipe.h>

struct xy_segment {
	_Atomic uint32_t references;
	uint32_t size;           /* of data */
	struct xy_segment *next; /* in the cache of a pool */
	_Alignas(64) uint8_t data[];
};

struct xy_link {
	struct xy_link *next;
	struct xy_segment *segment; /* one reference held */
	uint32_t start, end;        /* content */
	bool owned;                 /* what is behind `end` is ours to write */
};

struct xy_pool {
	uint32_t segment_size;
	uint32_t cached_max;
	uint32_t cached;
	uint32_t links_cached;
	uint32_t idle, links_idle; /* the least that were cached since xy_pool_shrink() */
	struct xy_segment *cache;  /* last returned first: it is the hottest */
	struct xy_depot *depot;    /* where to give and take more; NULL = nowhere */
	/* A segment whose front others still read, and whose owner writes no more behind that: the
	 * next one to reserve does, or every small read, and every small message between two large
	 * ones, would pin a segment of its own. One reference held, and owned from partial_used on.
	 */
	struct xy_segment *partial;
	uint32_t partial_used;
	struct xy_link *links;
	uint64_t rented, created;
};

struct xy_pipe {
	struct xy_pool *pool;
	struct xy_link *head, *tail; /* only the tail can be without content */
	struct xy_link *before;      /* of a tail without content that is not the head */
	size_t length;               /* published, unconsumed */
	size_t committed;            /* behind that, not yet published */
	size_t examined;             /* of length, by the last advance: reads wait for more */
	size_t examined_most;        /* of length, by any advance: does not press on the writer */
	size_t wanted;               /* of length, by a read_at_least that waits */
	size_t viewed;               /* length of the view that is out */
	uint64_t stamp;              /* of the view that is or was out last */
	uint32_t reserved;           /* behind the tail's end */
	uint32_t links;
	int error; /* of the writer; 0 or -errno */
	bool view_out;
	bool waiting; /* the reader was told that there is nothing, and not yet that there is */
	bool paused;
	bool flush_waiting; /* the writer was told to pause, and not yet to go on */
	bool read_cancelled, flush_cancelled;
	bool writer_done, reader_done;

	size_t pause, resume, minimum;
	void (*on_readable)(struct xy_pipe *pipe, void *context);
	void (*on_resume)(struct xy_pipe *pipe, void *context);
	void *context;
};

_Static_assert(sizeof(struct xy_pipe) <= 256, "an idle connection's pipes must stay cheap");

/* ---- segments and links ---------------------------------------------------------------------- */

static inline void xy_segment_hold(struct xy_segment *segment)
{
	atomic_fetch_add_explicit(&segment->references, 1, memory_order_relaxed);
}

/* Only the holder of a reference may ask; then true cannot become false behind its back. */
static inline bool xy_segment_sole(const struct xy_segment *segment)
{
	return atomic_load_explicit(&segment->references, memory_order_acquire) == 1;
}

/* Drops a reference; the last one gives the segment to the pool, or frees it (also pool NULL). */
void xy_segment_release(struct xy_segment *segment, struct xy_pool *pool);

void xy_segment_free(struct xy_segment *segment); /* nobody's */

/* A link with an owned segment and room for `need` bytes, without content. NULL with errno. */
struct xy_link *xy_link_rent(struct xy_pool *pool, size_t need);
/* Makes sure that the next `count` calls of xy_link_get() succeed. 0 or -ENOMEM. */
int xy_links_prepare(struct xy_pool *pool, uint32_t count);
struct xy_link *xy_link_get(struct xy_pool *pool); /* prepared; fields are not initialised */
void xy_link_put(struct xy_pool *pool, struct xy_link *link);
/* Gives up what is behind `end`, if we own it: the pool lets the next one write there. */
void xy_link_disown(struct xy_pool *pool, struct xy_link *link);
/* Owns it again, if nobody wrote there or if nobody else holds the segment. */
void xy_link_reown(struct xy_pool *pool, struct xy_link *link);
/* Ends the link's hold on its segment; the link itself stays. */
void xy_link_release(struct xy_pool *pool, struct xy_link *link);

/* ---- depot ----------------------------------------------------------------------------------- */

struct xy_depot;

bool xy_depot_give(struct xy_depot *depot, struct xy_segment *segment); /* false: it is full */
struct xy_segment *xy_depot_take(struct xy_depot *depot);               /* NULL: it is empty */
void xy_depot_trim(struct xy_depot *depot);                             /* to nothing */
/* Frees what nobody needed since the last call that did, a period ago or longer; else does nothing.
 */
void xy_depot_shrink(struct xy_depot *depot);

/* ---- chains ---------------------------------------------------------------------------------- */

static inline struct xy_slice *xy_chain_slices(struct xy_chain *chain)
{
	return (chain->heap ? chain->heap : chain->inlined) + chain->first;
}

static inline const struct xy_slice *xy_chain_slices_const(const struct xy_chain *chain)
{
	return (chain->heap ? chain->heap : chain->inlined) + chain->first;
}

/* Makes room for `more` slices. 0 or -ENOMEM. */
int xy_chain_prepare(struct xy_chain *chain, uint32_t more);
/* Takes a new reference, or extends the last slice. Room must be there. */
void xy_chain_add(struct xy_chain *chain, struct xy_segment *segment, uint32_t offset,
		  uint32_t length);

/* ---- pipes ----------------------------------------------------------------------------------- */

/* Room behind the tail's end that this pipe may write; takes ownership when nobody else holds the
 * segment. */
uint32_t xy_pipe_room(struct xy_pipe *pipe);
/* Puts a link behind the tail. */
void xy_pipe_push(struct xy_pipe *pipe, struct xy_link *link);
/* Returns links at the head that hold no content and no reservation. */
void xy_pipe_tidy(struct xy_pipe *pipe);
/* Returns a tail that holds no content, reserved or not. */
void xy_pipe_strip(struct xy_pipe *pipe);
/* Drops all content; an open reservation stays valid. */
void xy_pipe_drop(struct xy_pipe *pipe);
/* Tells a waiting reader if a read would succeed now. */
void xy_pipe_wake_reader(struct xy_pipe *pipe);
/* Removes the first `length` bytes, which count as examined, and resumes the writer if it may. */
void xy_pipe_consume(struct xy_pipe *pipe, size_t length);
/* A cursor over the first `length` bytes of published content. */
struct xy_cursor xy_pipe_cursor(const struct xy_pipe *pipe, size_t length);

#endif
