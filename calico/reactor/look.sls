# Something happened on a minion: its own calico.ready, half a minute later at most, into the job cache.
{#- What a minion sends is data: it must not become a part of this file's structure. #}
What the node itself says of it:
  local.calico.ready:
    - tgt: {{ data["id"] | json }}
    - args:
        timeout: 30
    - ret: ''
