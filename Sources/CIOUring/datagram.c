#define _GNU_SOURCE
#include "datagram.h"
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

int kvd_send_datagram(int descriptor, const void *bytes, size_t count, const struct sockaddr *to, socklen_t to_count,
                      uint32_t interface) {
  struct iovec piece = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr message = {.msg_name = (void *)to, .msg_namelen = to_count, .msg_iov = &piece, .msg_iovlen = 1};
  union {
    struct cmsghdr header;
    unsigned char room[CMSG_SPACE(sizeof(struct in_pktinfo))];
  } control;
  if (interface) {
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_IP;
    header->cmsg_type = IP_PKTINFO;
    header->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    struct in_pktinfo information = {.ipi_ifindex = (int)interface};
    memcpy(CMSG_DATA(header), &information, sizeof information);
  }
  return sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
}

int kvd_multicast(int descriptor, uint32_t group, uint32_t interface, int join) {
  struct ip_mreqn request = {.imr_multiaddr = {.s_addr = group}, .imr_ifindex = (int)interface};
  int option = join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP;
  return setsockopt(descriptor, IPPROTO_IP, option, &request, sizeof request) < 0 ? errno : 0;
}
