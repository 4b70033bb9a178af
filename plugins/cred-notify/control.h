#ifndef CRED_NOTIFY_CONTROL_H
#define CRED_NOTIFY_CONTROL_H

/* The service's end of CONTROL_SOCKET: doveadm's commands, see
   core/control-line.h. The socket is root's alone. */

struct control;
struct cred_service;

struct control *control_init(struct cred_service *service);
/* Commands that are not answered are dropped. */
void control_deinit(struct control **control);

/* A connection to the socket; it is ours from now on. */
void control_accept(struct control *control, int fd);

#endif
