{#
  Bounds for a mean of values in [0, 1].

  For values of 0 or 1, this is Wilson's score interval (1927). For other values, the formula uses the
  effective number of values, n · m(1 − m) / s². That many zeros and ones determine their mean m as
  precisely as n values with variance s² do. In survey statistics, this is the design-adjusted Wilson
  interval: Franco, Little, Louis, Slud, 2019, https://doi.org/10.1093/jssam/smy019. Values in [0, 1]
  have at most the variance m(1 − m), so the effective number is never below n. While s² is uncertain,
  n itself is the conservative choice.
#}

{% macro effective_values(n, mean, variance) -%}
case
    when {{ n }} < {{ var('interval_values') }} or {{ mean }} <= 0 or {{ mean }} >= 1 then {{ n }}
    else {{ n }} / least(greatest({{ variance }} / ({{ mean }} * (1 - {{ mean }})), 1.0 / {{ n }}), 1.0)
end
{%- endmacro %}

{% macro wilson_low(mean, n) -%}
greatest(({{ mean }} + {{ z2() }} / (2 * {{ n }}) - {{ wilson_half(mean, n) }}) / (1 + {{ z2() }} / {{ n }}), 0.0)
{%- endmacro %}

{% macro wilson_high(mean, n) -%}
least(({{ mean }} + {{ z2() }} / (2 * {{ n }}) + {{ wilson_half(mean, n) }}) / (1 + {{ z2() }} / {{ n }}), 1.0)
{%- endmacro %}

{% macro wilson_half(mean, n) -%}
sqrt(greatest({{ z2() }} * ({{ mean }} * (1 - {{ mean }}) / {{ n }} + {{ z2() }} / (4 * {{ n }} * {{ n }})), 0.0))
{%- endmacro %}

{% macro z2() -%}
({{ var('interval_z') }}::double * {{ var('interval_z') }}::double)
{%- endmacro %}
