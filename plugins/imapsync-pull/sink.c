/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "spool.h"
#include "sink.h"

void sink_put(struct sink *sink, struct sink_message *message)
{
	sink->pending++;
	sink->v->put(sink, message);
}

bool sink_has_room(struct sink *sink)
{
	return sink->v->has_room(sink);
}

void sink_flush(struct sink *sink)
{
	sink->v->flush(sink);
}

void sink_deinit(struct sink **_sink)
{
	struct sink *sink = *_sink;

	*_sink = NULL;
	if (sink != NULL)
		sink->v->deinit(sink);
}

void sink_answer(struct sink *sink, struct sink_message *message,
		 const struct sink_outcome *outcome)
{
	i_assert(sink->pending > 0);
	sink->pending--;
	sink->callback(message, outcome, sink->context);
	spool_unref(&message->spool);
	pool_unref(&message->pool);
}
