/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "ioloop.h"
#include "llist.h"
#include "net.h"
#include "dovecot-compat.h"
#include "master-service.h"
#include "imapsync-settings.h"
#include "scheduler.h"
#include "service-private.h"

#include <unistd.h>

/* The socket to which every mail process may say who has logged in:
	wake TAB <user>
   No answer is given, nothing else is taken. Whoever writes to it may be
   anybody: so many may be connected, and not for long. */

#define WAKE_MAX_LINE 1024
#define WAKE_MAX_CONNECTIONS 64
#define WAKE_TIMEOUT_MSECS 1000

struct pull_waker {
	struct pull_waker *prev, *next;
	struct pull_service *service;
	int fd;
	struct io *io;
	struct timeout *to;

	char line[WAKE_MAX_LINE];
	size_t used;
};

static void waker_free(struct pull_waker *waker)
{
	DLLIST_REMOVE(&waker->service->wakers, waker);
	waker->service->waker_count--;
	io_remove(&waker->io);
	timeout_remove(&waker->to);
	net_disconnect(waker->fd);
	i_free(waker);
	master_service_client_connection_destroyed(master_service);
}

static void waker_line(struct pull_waker *waker)
{
	struct job_line line;
	const char *error;

	if (job_line_parse(pool_datastack_create(), waker->line, &line,
			   &error) == 0 &&
	    strcmp(line.word, "wake") == 0 && line.args[0] != NULL) {
		scheduler_wake_user(waker->service->scheduler, line.args[0]);
	}
}

/* Returns FALSE when there is nothing more to come. */
static bool waker_read(struct pull_waker *waker)
{
	ssize_t ret = net_receive(waker->fd, waker->line + waker->used,
				  sizeof(waker->line) - waker->used);
	char *end;

	if (ret < 0)
		return FALSE;
	end = memchr(waker->line + waker->used, '\n', ret);
	waker->used += ret;
	if (end == NULL)
		return waker->used < sizeof(waker->line);
	*end = '\0';
	T_BEGIN {
		waker_line(waker);
	} T_END;
	return FALSE;
}

static void waker_input(struct pull_waker *waker)
{
	if (!waker_read(waker))
		waker_free(waker);
}

void pull_service_waker_connected(struct pull_service *service, int fd)
{
	struct pull_waker *waker;

	if (!service->set->imapsync_pull_wake_on_login ||
	    service->waker_count >= WAKE_MAX_CONNECTIONS) {
		net_disconnect(fd);
		master_service_client_connection_destroyed(master_service);
		return;
	}
	net_set_nonblock(fd, TRUE);
	waker = i_new(struct pull_waker, 1);
	waker->service = service;
	waker->fd = fd;
	waker->io = io_add(fd, IO_READ, waker_input, waker);
	waker->to = timeout_add(WAKE_TIMEOUT_MSECS, waker_free, waker);
	DLLIST_PREPEND(&service->wakers, waker);
	service->waker_count++;
}

void pull_service_wakers_deinit(struct pull_service *service)
{
	while (service->wakers != NULL)
		waker_free(service->wakers);
}
